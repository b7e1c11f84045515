"""Every sentence that says why a figure is empty has its Chinese, and none is left over."""

import ast
import re
from pathlib import Path

import pytest

from config import phrases
from config.phrases import chinese

ENGLISH = re.compile(r"[a-z]{2,} [a-z]{2,}")
ROOT = Path(phrases.__file__).parent.parent
SOURCES = [*(ROOT / "monitors").glob("*.py"), ROOT / "pipeline" / "budgets.py"]
SAID = "\n".join(
    node.value for source in SOURCES for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
    if isinstance(node, ast.Constant) and isinstance(node.value, str)
)


@pytest.mark.parametrize("phrase", phrases._PHRASES)
def test_each_phrase_stands_in_a_result_and_is_wholly_chinese(phrase: str) -> None:
    fragments = [part.strip() for part in re.split(r"\{\}|\(\{\}\)|(?=further notice)", phrase) if part.strip(" ,()")]
    if not phrase.startswith(("no calorific", "no equivalent", "no fresh", "no water")):  # the name of the measure is put in
        assert all(part in SAID for part in fragments)
    said = chinese(phrase.format(*(f"X{number}" for number in range(6))))
    assert not ENGLISH.search(said), said
    for number in range(phrase.count("{}")):
        assert f"X{number}" in said


@pytest.mark.parametrize(("english", "zh"), [
    ("coal: no meter; no goal in force", "coal：无计量表；没有现行目标"),
    ("electricity: consumed stands beside purchased, own primary or stock rows, which counts it twice; keep one of the two; no value added",
     "electricity：消费量与购入、自产一次能源或库存并列，重复计算；请只保留一种；没有增加值"),
    ("no figure of E1, E2, E3 and 4 more (calorific: coal: no quantity in 2025-03; heat: no quantity in 2025)",
     "E1, E2, E3 等另 4 项 没有数值（当量值：coal：2025-03 没有数量；heat：2025 没有数量）"),
    (("no figure of E1 (no CO2 factor of coke is in the table: name the kind of fuel as `tcewatch tables carbon_factors` lists it, "
      "or bring its factor (`tcewatch tables add`); no meter)"),
     "E1 没有数值（排放因子表（carbon_factors）中没有coke：请按表中所列写明燃料种类，或引入其因子；无计量表）"),
    ("no equivalent coefficient of heat is in force in 2020, only 2021-01-01 to before 2022-01-01, 2023-01-01 to before further notice",
     "2020 期间没有 heat 的现行等价值系数，仅有 2021-01-01 起至 2022-01-01 前, 2023-01-01 起"),
    ("what (nobody; ever) said; no meter", "what (nobody；ever) said；无计量表"),
])
def test_sentences_stand_in_each_other_and_what_is_not_known_stays(english: str, zh: str) -> None:
    assert chinese(english) == zh
