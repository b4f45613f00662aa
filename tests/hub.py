"""A web server that plays the Hub's API for models: repositories, branches, commits, large files, ranges."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import played_hub

DATE = "2026-01-01T00:00:00.000Z"


class Hub(ThreadingHTTPServer):
    """`repositories`: ORG/NAME -> branch -> list of commits, each path -> bytes, the first of them empty."""

    daemon_threads, token = True, "hf_right"

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repositories, self.objects = {}, {}
        self.requests, self.faults, self.ranges = [], {}, []  # faults: part of an address -> status, once

    def files(self, repository, branch):
        """What a branch holds now."""
        return self.repositories[repository][branch][-1]

    def find(self, repository, revision):
        """The files of a branch or a commit; None: there is no such revision."""
        branches = self.repositories[repository]
        commits = {commit_id(files): files for history in branches.values() for files in history}
        return branches[revision][-1] if revision in branches else commits.get(revision)


@contextmanager
def serving():
    """A Hub under way, and the environment that sends the Hub's client to it."""
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield hub
        hub.shutdown()


def commit_id(files):
    return hashlib.sha1(repr(sorted((name, git_hash(data)) for name, data in files.items())).encode()).hexdigest()


def git_hash(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(path):
    return path.endswith((".safetensors", ".gguf"))


def entry(path, data):
    """A file as the Hub lists it."""
    row = {"type": "file", "path": path, "oid": git_hash(data), "size": len(data)}
    if is_large(path):
        row["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return row


class Answer(played_hub.Answer):
    wbufsize = 65_536  # headers and body in one packet

    def reply(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        path = unquote(urlsplit(self.path).path).strip("/")
        hub = self.server
        hub.requests.append(f"{self.command} {path}")
        for part, status in list(hub.faults.items()):
            if part in f"{self.command} {path}":
                del hub.faults[part]
                return self.refuse(status, "made to fail")
        if self.command in ("POST", "PUT") and "paths-info" not in path and not path.startswith("objects/"):
            if self.headers.get("Authorization") != f"Bearer {hub.token}":
                return self.refuse(401, "Invalid credentials in Authorization header")
        quoted = urlsplit(self.path).path.strip("/").removeprefix("api/")
        words = [unquote(word) for word in quoted.split("/")]  # a revision may hold slashes
        match [self.command, *words]:
            case ["POST", "repos", "create"]:
                asked = json.loads(self.body)
                name = f"{asked['organization']}/{asked['name']}"
                if name in hub.repositories:
                    return self.send(409, json.dumps({"error": "it is there", "url": f"{hub.url}/{name}"}).encode(), {})
                hub.repositories[name] = {"main": [{".gitattributes": b"*.safetensors filter=lfs\n"}]}
                return self.answer({"url": f"{hub.url}/{name}", "name": name})
            case ["POST", "validate-yaml"]:  # of a card
                return self.answer({"errors": [], "warnings": []})
            case ["PUT", "objects", sha256]:
                assert hashlib.sha256(self.body).hexdigest() == sha256
                hub.objects[sha256] = self.body
                return self.answer({})
            case ["POST", organization, name, "info", "lfs", "objects", "batch"]:
                objects = [self.upload(wanted) for wanted in json.loads(self.body)["objects"]]
                return self.answer({"transfer": "basic", "objects": objects})
            case [_, "models", organization, name, *rest]:
                return self.answer_about(f"{organization}/{name}", rest)
            case ["GET" | "HEAD", organization, name, "resolve", revision, *place]:
                return self.send_file(f"{organization}/{name}", revision, "/".join(place))
        self.refuse(404, path)

    do_GET = do_HEAD = do_POST = do_PUT = reply

    def upload(self, wanted):
        """Where a large file should go; no place where its bytes are there already."""
        if wanted["oid"] in self.server.objects:
            return wanted
        return wanted | {"actions": {"upload": {"href": f"{self.server.url}/objects/{wanted['oid']}"}}}

    def answer_about(self, name, rest):
        branches = self.server.repositories.get(name)
        if branches is None:
            return self.refuse(404, "RepoNotFound")
        match rest:
            case ["refs"]:
                rows = [(branch, commit_id(history[-1])) for branch, history in branches.items()]
                refs = [{"name": b, "ref": f"refs/heads/{b}", "targetCommit": commit} for b, commit in rows]
                return self.answer({"branches": refs, "converts": [], "tags": []})
            case ["commits", revision]:
                told = {"authors": [], "date": DATE, "title": "", "message": ""}
                return self.answer([{"id": commit_id(files), **told} for files in branches[revision][::-1]])
            case ["branch", branch]:
                branches[branch] = [self.server.find(name, json.loads(self.body)["startingPoint"])]
                return self.answer({})
            case ["preupload", _]:
                modes = [
                    {"path": path, "uploadMode": "lfs" if is_large(path) else "regular", "shouldIgnore": False}
                    for path in (file["path"] for file in json.loads(self.body)["files"])
                ]
                return self.answer({"files": modes})
            case ["commit", branch]:
                branches[branch].append(self.changed(dict(branches[branch][-1])))
                commit = commit_id(branches[branch][-1])
                return self.answer({"commitUrl": f"{self.server.url}/{name}/commit/{commit}", "commitOid": commit})
        files = self.server.find(name, rest[1]) if rest[1:] else branches["main"][-1]
        if files is None:
            return self.refuse(404, "RevisionNotFound")
        match rest:
            case [] | ["revision", _]:
                info = {"id": name, "sha": commit_id(files), "private": False, "tags": [], "downloads": 0, "likes": 0}
                return self.answer({**info, "siblings": [{"rfilename": path} for path in files]})
            case ["tree", _]:
                return self.answer([entry(path, data) for path, data in files.items()])
        self.refuse(404, "EntryNotFound")

    def changed(self, files):
        """The files after the commit in the request's body, one JSON object a line."""
        for line in self.body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            match operation["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.server.objects[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        return files

    def send_file(self, name, revision, path):
        files = self.server.find(name, revision) if name in self.server.repositories else None
        if files is None or path not in files:
            return self.refuse(404, "EntryNotFound")
        data, status, headers = files[path], 200, {"Accept-Ranges": "bytes"}
        if asked := self.headers.get("Range"):
            start, end = asked.removeprefix("bytes=").split("-")
            end = min(int(end or len(data) - 1), len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            data, status = data[int(start) : end + 1], 206
            self.server.ranges.append((path, len(data)))
        headers |= {"ETag": f'"{git_hash(files[path])}"', "X-Repo-Commit": commit_id(files)}
        self.send(status, data, headers)
