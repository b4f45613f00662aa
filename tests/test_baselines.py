"""Models beside the series, through ScandEval: pytest tests/test_baselines.py"""

import pytest
import scandeval_all
from conftest import run_main
from test_scandeval import behave, places, recipe, save_model  # noqa: F401

from snakmodel.config import BadInput


def test_a_baselines_name_is_not_given_to_another_model_and_its_scores_stay(recipe, behave):  # noqa: F811
    for number, name in enumerate(("one", "other")):
        save_model(recipe.parent / name, number)
    run_main(scandeval_all, recipe, "steps=0", f"baselines.beside={recipe.parent}/one")
    kept = {path: path.read_bytes() for path in places(recipe, "baselines/beside")}
    with pytest.raises(BadInput, match="holds scores of .*/one, but baseline beside is .*/other; call it otherwise"):
        run_main(scandeval_all, recipe, "steps=0", f"baselines.beside={recipe.parent}/other")
    assert kept and {path: path.read_bytes() for path in kept} == kept
