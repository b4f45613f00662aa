"""The loops of snakmodel/phrases.py over UTF-8 bytes, which numba compiles on the first call of a machine (10 seconds).

Places in texts are uint64: numba would count a negative one from the end, and look each time whether it is. In an
operation of both kinds of integers it makes floats of them. Shapes: D texts, H hits, I items, E runs of items, R
different ones, L their lengths, W words of an item, B places of a block.
"""

import unicodedata
from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

CODE_POINTS = 0x34000  # above them Unicode has no letters
OTHER, SPACE, COMPOSES, LETTER = (np.uint64(number) for number in (0, 1, 2, 3))  # classes; a letter's is LETTER or more
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # of rolling hashes: odd, from the golden ratio
ONE, TWO, THREE, FOUR, FIVE, SIX, REST, SIX_BITS = (np.uint64(number) for number in (1, 2, 3, 4, 5, 6, 59, 63))
ONE_SPACE = np.uint64(0x20)
BLOCK = 8_192  # bytes of a text at a time


@cache
def letters() -> NDArray[np.uint64]:
    """For each code point a number that equal letters share, whatever their case; below LETTER for what is no letter.

    COMPOSES: texts in which it stands may have another spelling in NFC.
    """
    table = np.zeros(CODE_POINTS, dtype=np.uint64)
    points = [chr(point) for point in range(CODE_POINTS) if not 0xD800 <= point < 0xE000]
    for letter in points:
        parts = unicodedata.decomposition(letter)
        if parts and not parts.startswith("<") and len(parts.split()) == 2:
            table[int(parts.split()[1], 16)] = COMPOSES
    for letter in points:
        if (
            unicodedata.combining(letter)
            or not unicodedata.is_normalized("NFC", letter)
            or "\u1160" <= letter < "\u1200"
        ):
            table[ord(letter)] = COMPOSES
        elif letter.isspace():
            table[ord(letter)] = SPACE
        elif letter.isalnum() or letter == "_":
            table[ord(letter)] = ord(letter.lower()[0])
    numbers = table * MULTIPLIER
    numbers ^= numbers >> np.uint64(32)
    return np.where(table < LETTER, table, numbers * MULTIPLIER | np.uint64(1 << 63))


@njit(nogil=True, cache=True)
def letter_at(text: Any, place: int, end: Any, letters: Any) -> Any:
    """The letter's number, and how many bytes it has."""
    first = text[place]
    if first < 0x80:
        return letters[first], ONE
    if first < 0xE0 and place + ONE < end:
        return letters[np.uint64((first & 0x1F) << 6 | (text[place + ONE] & 0x3F))], TWO
    if first < 0xF0 and place + TWO < end:
        point = (first & 0xF) << 12 | (text[place + ONE] & 0x3F) << 6 | (text[place + TWO] & 0x3F)
        return letters[np.uint64(point)], THREE
    if place + THREE < end:
        point = (first & 0x7) << 18 | (text[place + ONE] & 0x3F) << 12
        point |= (text[place + TWO] & 0x3F) << 6 | (text[place + THREE] & 0x3F)
        return letters[np.uint64(point)] if point < len(letters) else OTHER, FOUR
    return OTHER, ONE


@njit(nogil=True, cache=True)
def next_word(text: Any, place: int, end: Any, letters: Any) -> Any:
    """The next word: where it begins and ends, its hash, and whether something before it composes.

    It begins at `end` where there is none.
    """
    composes = False
    while place < end:
        letter, width = letter_at(text, place, end, letters)
        if letter >= LETTER:
            break
        composes |= letter == COMPOSES
        place += width
    begin, word = place, OTHER
    while place < end:
        letter, width = letter_at(text, place, end, letters)
        if letter < LETTER:
            break
        word = (word << FIVE | word >> REST) ^ letter
        place += width
    return begin, place, word, composes


@njit(nogil=True, cache=True)
def scramble(value: Any) -> Any:
    """Every bit over the ones above it, and the upper half over the lower."""
    value = value * MULTIPLIER
    return value ^ value >> np.uint64(32)


@njit(nogil=True, cache=True)
def spelling(text: Any, begin: Any, end: Any, letters: Any) -> Any:
    """64 bits of these bytes, white space collapsed."""
    value, after_space, place = OTHER, False, begin
    while place < end:
        letter, width = letter_at(text, place, end, letters)
        after, was_space = place + width, letter == SPACE
        if was_space:
            value = value if after_space else scramble(value ^ ONE_SPACE)
            place = after
        while place < after:
            value = scramble(value ^ np.uint64(text[place]))
            place += ONE
        after_space = was_space
    return value


@njit(nogil=True, cache=True)
def same_words(text: Any, place: int, end: Any, other: Any, other_place: int, words: int, letters: Any) -> bool:
    """Whether the next `words` words are the same, letter by letter."""
    other_end = np.uint64(len(other))
    for _ in range(words):
        place, stop, _, _ = next_word(text, place, end, letters)
        other_place, other_stop, _, _ = next_word(other, other_place, other_end, letters)
        while place < stop and other_place < other_stop:
            one, width = letter_at(text, place, end, letters)
            two, other_width = letter_at(other, other_place, other_end, letters)
            if one != two:
                return False
            place += width
            other_place += other_width
        if place != stop or other_place != other_stop:
            return False
    return True


@njit(nogil=True, cache=True)
def list_runs(text: Any, bounds_I: Any, lengths_I: Any, letters: Any) -> Any:
    """Words of each item [I]; and of each of its runs [E] item, place, words, first byte; its hash and its spelling."""
    words_I = np.zeros(len(bounds_I) - 1, dtype=np.int64)
    rows, hashes, spellings = np.empty((1024, 4), np.int64), np.empty(1024, np.uint64), np.empty(1024, np.uint64)
    count, most = 0, np.int64(1)
    for item in range(len(words_I)):
        size = np.int64(bounds_I[item + 1] - bounds_I[item]) // 2 + 1
        if size > most:
            most = size
    begins_W, ends_W, words_W = np.empty(most, np.uint64), np.empty(most, np.uint64), np.empty(most, np.uint64)
    for item in range(len(words_I)):
        end = bounds_I[item + 1]
        place, words = bounds_I[item], 0
        while True:
            begin, place, word, _ = next_word(text, place, end, letters)
            if begin == end:
                break
            begins_W[words], ends_W[words], words_W[words] = begin, place, word
            words += 1
        words_I[item] = words
        length = min(lengths_I[item], words)
        for first in range(words - length + 1 if words else 0):
            if count == len(rows):
                rows = np.concatenate((rows, np.empty_like(rows)))
                hashes = np.concatenate((hashes, np.empty_like(hashes)))
                spellings = np.concatenate((spellings, np.empty_like(spellings)))
            value = OTHER
            for number in range(first, first + length):
                value = value * MULTIPLIER + words_W[number]
            rows[count] = item, first, length, np.int64(begins_W[first])
            hashes[count] = spread(value, length)
            spellings[count] = spelling(text, begins_W[first], ends_W[first + length - 1], letters)
            count += 1
    return words_I, rows[:count], hashes[:count], spellings[:count]


@njit(nogil=True, cache=True)
def spread(value: Any, length: int) -> Any:
    """The hash of a run from its rolling hash: the first bits hang on all of it."""
    return scramble(value + np.uint64(length)) * MULTIPLIER


@njit(nogil=True, cache=True)
def scan(
    text: Any, bounds_D: Any, letters: Any, lengths_L: Any, powers_L: Any, marks: Any, marks_shift: Any,
    directory: Any, directory_shift: Any, hashes_R: Any, lengths_R: Any, begins_R: Any, items: Any,
) -> Any:  # fmt: skip
    """Text, run and word of every hit [H, 3], its spelling [H], and which texts may differ from their NFC [D].

    Goes through each text by blocks, without branches that hang on where words end or on what is found: a processor
    guesses those wrong, and would wait for each look into the marks instead of for many at a time.
    """
    hits, spellings, count = np.empty((1024, 3), np.int64), np.empty(1024, np.uint64), 0
    composing_D = np.zeros(len(bounds_D) - 1, dtype=np.bool_)
    back = lengths_L.max()  # words before a block that a run of its first word reaches
    words_B, begins_B = np.empty(BLOCK, np.uint64), np.empty(back + BLOCK, np.uint64)
    rolling_B, passed_B = np.empty(back + BLOCK + 1, np.uint64), np.empty(BLOCK, np.int64)
    for number in range(len(composing_D)):
        place, end, before = bounds_D[number], bounds_D[number + 1], 0
        word, begin, within, composes = OTHER, place, False, False
        rolling_B[back] = OTHER
        while place < end:
            stop, words = min(end, place + np.uint64(BLOCK)), 0
            while place < stop:
                first = text[place]
                if first < 0x80:
                    letter, width = letters[first], ONE
                else:
                    letter, width = letter_at(text, place, end, letters)
                    composes |= letter == COMPOSES
                is_letter = letter >= LETTER
                words_B[words] = word
                begins_B[back + words] = begin
                words += within & (not is_letter)
                begin = begin if within else place
                word = (word << FIVE | word >> REST) ^ letter if is_letter else OTHER
                within = is_letter
                place += width
            if place >= end and within:
                words_B[words] = word
                begins_B[back + words] = begin
                words += 1
            value = rolling_B[back]
            for each in range(words):
                value = value * MULTIPLIER + words_B[each]
                rolling_B[back + each + 1] = value
            for kind in range(len(lengths_L)):
                passed, length = np.int64(0), lengths_L[kind]
                for each in range(max(0, length - 1 - before), words):
                    last = back + each + 1
                    key = spread(rolling_B[last] - rolling_B[last - length] * powers_L[kind], length)
                    mark = marks[key >> marks_shift]
                    passed_B[passed] = each
                    passed += np.int64(mark >> (key & SIX_BITS) & mark >> (key >> SIX & SIX_BITS) & ONE)
                likely = np.int64(0)
                for each in passed_B[:passed]:
                    last = back + each + 1
                    key = spread(rolling_B[last] - rolling_B[last - length] * powers_L[kind], length)
                    slot = key >> directory_shift
                    run = directory[slot]
                    there = (hashes_R[run] == key) | (hashes_R[run + 1] == key) | (directory[slot + ONE] - run > 2)
                    passed_B[likely] = each
                    likely += there
                for each in passed_B[:likely]:
                    last = back + each + 1
                    key = spread(rolling_B[last] - rolling_B[last - length] * powers_L[kind], length)
                    slot = key >> directory_shift
                    for run in range(directory[slot], directory[slot + ONE]):
                        if hashes_R[run] != key or lengths_R[run] != length:
                            continue
                        first_byte = begins_B[last - length]
                        if not same_words(text, first_byte, end, items, begins_R[run], length, letters):
                            continue
                        if count == len(hits):
                            hits = np.concatenate((hits, np.empty_like(hits)))
                            spellings = np.concatenate((spellings, np.empty_like(spellings)))
                        last_byte = next_word(text, begins_B[last - 1], end, letters)[1]
                        hits[count] = number, np.int64(run), before + each + 1 - length
                        spellings[count] = spelling(text, first_byte, last_byte, letters)
                        count += 1
            before += words
            for each in range(back):
                begins_B[each] = begins_B[words + each]
            for each in range(back + 1):
                rolling_B[each] = rolling_B[words + each]
        composing_D[number] = composes
    return hits[:count], spellings[:count], composing_D


@njit(nogil=True, cache=True)
def same_runs(text: Any, ones_E: Any, others_E: Any, words_E: Any, others_words_E: Any, letters: Any) -> Any:
    """Whether the runs that begin at `ones_E` and at `others_E` are the same, pair by pair [E]."""
    end, same_E = np.uint64(len(text)), np.zeros(len(ones_E), np.bool_)
    for each in range(len(ones_E)):
        if words_E[each] == others_words_E[each]:
            same_E[each] = same_words(text, ones_E[each], end, text, others_E[each], words_E[each], letters)
    return same_E
