"""`borderlane bench risk`: score cards over a generated book, beside rule engines that scan their rules.

The book is made and measured in processes of their own, so that memory is that of a service and nothing else.
Times are wall time of one thread; of each card the best of REPEATS runs counts, as a shared machine only ever makes
one slower. What a service does at random times besides (collecting garbage, say) is switched off by `gc.freeze`.
"""

from __future__ import annotations

import csv
import gc
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil

from agent.domain.declaration import DutyAndTax, GoodsDeclaration, GoodsItem, ImportData, Party
from agent.domain.identifiers import VehicleKey
from simulator.bench_figure import REPEATS, Figure, Tell

RULES, NAMES, PHRASES = 1_500_000, 300_000, 200_000
DECLARATIONS = 10_000
MEAN_ITEMS, MAX_ITEMS = 3.9, 23
"""Goods items of a declaration, geometric (design/risk.md section 3)."""
PEER_RULES, PEER_DECLARATIONS = 2_000, 50
"""What the peers bear: they look at every rule for every declaration."""
SEED = 1
NOW_S = 1_795_342_500.0
SAMPLE_ROWS = 60_000
"""Generated rules whose firms, codes and countries the declarations are drawn from."""


def risk(tell: Tell, *, scale: float = 1.0) -> Iterable[Figure]:
    """Figures `risk.*`.

    Args:
        tell: Is told what is being measured.
        scale: Share of the book and the declarations to measure with; the targets are meant for 1.
    """
    counts = [max(100, round(one * scale)) for one in (RULES, NAMES, PHRASES)]
    with tempfile.TemporaryDirectory() as place:
        source, book = Path(place) / "source", Path(place) / "book"
        tell(f"a book of {counts[0]} rules, {counts[1]} names, {counts[2]} phrases")
        sizes = [f"--{name}={count}" for name, count in zip(("rules", "names", "phrases"), counts, strict=True)]
        _child("simulator.cli", "rules", "generate", *sizes, f"--seed={SEED}", "-o", str(source))
        began = time.perf_counter()
        _child("simulator.cli", "rules", "build", str(source), "-o", str(book))
        yield Figure("risk.buildS", time.perf_counter() - began, "s")
        yield Figure("risk.bookMb", sum(one.stat().st_size for one in book.iterdir()) / 1e6, "MB")
        tell("score cards")
        asked = max(200, round(DECLARATIONS * scale))
        said = _child("simulator.bench_risk", str(source), str(book), str(asked))
    figures = [msgspec.convert(one, Figure) for one in json.loads(said)]
    tell(f"peers over {PEER_RULES} rules")
    peers = peer_times_ms(PEER_RULES)
    for one in figures:
        yield msgspec.structs.replace(one, peers=peers) if one.id == "risk.cardP99Ms" else one


def _child(module: str, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", module, *words], check=True, capture_output=True, text=True)
    return done.stdout


# --- in the measuring process ---


def measured(source: Path, folder: Path, asked: int) -> Iterator[Figure]:
    """Everything about a compiled book and the folder that it was made from."""
    from agent.keys import read_public_key
    from agent.risk.book_file import open_book
    from simulator.customs.assessment import assess
    from simulator.customs.book import Subject
    from simulator.customs.feedback import NO_COUNTERS
    from simulator.customs.models import shipped
    from simulator.customs.rule_build import book_of
    from simulator.customs.score import Ahead, Learning, lodged_step, predicted_of, referenced_step

    declarations = list(made_declarations(source, asked))
    learned = shipped("default")
    learning = Learning.of(learned.model, learned.prior, NO_COUNTERS)
    keys = {"book-1": read_public_key(folder.with_name(f"{folder.name}.pub.pem"))}
    subjects = [_subject(Subject, number, goods) for number, goods in enumerate(declarations)]
    gc.collect()
    began = time.perf_counter()
    book = book_of(open_book(folder, keys, check=False))
    first = msgspec.json.encode(assess(subjects[0], book, learning, NOW_S, drawn=False))
    yield Figure("risk.readyMs", (time.perf_counter() - began) * 1e3, "ms")
    assert first
    began = time.perf_counter()
    book = _warmed(book)
    yield Figure("risk.warmS", time.perf_counter() - began, "s")
    gc.freeze()
    whole = _times_ms(subjects, lambda one: msgspec.json.encode(assess(one, book, learning, NOW_S, drawn=False)))
    yield Figure("risk.cardP50Ms", float(np.percentile(whole, 50)), "ms")
    yield Figure("risk.cardP99Ms", float(np.percentile(whole, 99)), "ms")
    yield Figure("risk.cardsPerS", 1e3 * len(whole) / sum(whole), "cards/s")
    ahead = [
        Ahead(lodged_step(one, book), predicted_of(one, book, learning), referenced_step(one, book)) for one in subjects
    ]
    pairs = list(zip(subjects, ahead, strict=True))
    late = _times_ms(
        pairs, lambda one: msgspec.json.encode(assess(one[0], book, learning, NOW_S, drawn=False, ahead=one[1]))
    )
    yield Figure("risk.activationP50Ms", float(np.percentile(late, 50)), "ms")
    yield Figure("risk.activationP99Ms", float(np.percentile(late, 99)), "ms")
    yield Figure("risk.rssMb", psutil.Process().memory_info().rss / 1e6, "MB")


def _warmed(book: Any) -> Any:
    from dataclasses import replace

    from simulator.customs.book import PhraseList

    return replace(book, phrases=PhraseList(book.phrases.index.warmed(), book.phrases.entries))


def _times_ms(asked: Sequence[Any], answer: Callable[[Any], Any]) -> list[float]:
    for one in asked[:200]:
        answer(one)
    times = [math.inf] * len(asked)
    for _ in range(REPEATS):
        for at, one in enumerate(asked):
            began = time.perf_counter()
            answer(one)
            times[at] = min(times[at], (time.perf_counter() - began) * 1e3)
    return times


def _subject(kind: Any, number: int, goods: GoodsDeclaration) -> Any:
    return kind(
        activation_id=f"a{number}", mrn=goods.mrn, version=1, jrn=f"J{number}", crossing="thayngen",
        office="CH002471", direction="IN", activated_s=NOW_S, goods=goods, vehicle=VehicleKey(f"ZH{number}", "CH"),
        carrier=Party(name="Alpenfracht AG"), indicators={"plateMatches": True},
    )  # fmt: skip


def made_declarations(source: Path, count: int) -> Iterator[GoodsDeclaration]:
    """Declarations drawn from the rules of a generated book, so that keys are met as by real freight."""
    rows = _rows(source)
    column = {name: [row[name] for row in rows if row[name]] for name in
              ("match.consignor", "match.consignee", "match.hs8", "match.origin")}  # fmt: skip
    dice = np.random.default_rng(SEED)

    def drawn(name: str) -> str:
        texts = column[f"match.{name}"]
        return texts[int(dice.integers(0, len(texts)))]

    for number in range(count):
        items = min(MAX_ITEMS, int(dice.geometric(1.0 / MEAN_ITEMS)))
        yield GoodsDeclaration(
            procedure="IMPORT",
            direction="IN",
            mrn=f"M{number}",
            declarant=Party(name="Rheintal Logistik GmbH"),
            consignor=Party(name=drawn("consignor")),
            consignee=Party(name=drawn("consignee")),
            import_data=ImportData(customs_office_of_import="40", requested_procedure="11"),
            goods_items=tuple(_item(line, drawn("hs8"), drawn("origin"), dice) for line in range(1, items + 1)),
        )


def _rows(source: Path) -> list[dict[str, str]]:
    """Rules of each kind: some from every file, as files are in order of what rules ask for."""
    files = sorted((source / "rules").glob("bulk-*.csv"))
    rows: list[dict[str, str]] = []
    for path in files:
        with path.open(encoding="utf-8", newline="") as file:
            every = max(1, 250_000 * len(files) // SAMPLE_ROWS)
            rows += [row for at, row in enumerate(csv.DictReader(file)) if at % every == 0]
    return rows


def _item(line: int, code: str, origin: str, dice: np.random.Generator) -> GoodsItem:
    mass_kg = float(dice.uniform(50.0, 8_000.0))
    return GoodsItem(
        goods_item_number=line,
        commodity_code=code,
        description_of_goods="pumps and parts of machines, packed on pallets, new, not assembled, for industry " * 2,
        country_of_origin=origin,
        country_of_dispatch=origin,
        net_mass=mass_kg,
        statistical_value=mass_kg * float(dice.uniform(0.5, 60.0)),
        duties_and_taxes=(DutyAndTax(tax_type="FCN1", tax_rate=7.2),),
    )


# --- peers ---


def peer_times_ms(rules: int) -> dict[str, float]:
    """p99 of one goods item against so many rules `hs4 and origin and value`, for each peer that is installed."""
    dice = np.random.default_rng(SEED)
    asked = [(f"{int(dice.integers(100, 9_800)):04d}", str(dice.choice(["CN", "DE", "AE", "TR"])),
              float(dice.integers(1, 50_000))) for _ in range(rules)]  # fmt: skip
    facts = [dict(zip(("hs4", "origin", "value"), one, strict=True)) for one in asked[:PEER_DECLARATIONS]]
    makers = {"cel": _cel, "zen-engine": _zen, "rule-engine": _rule_engine}
    times: dict[str, float] = {}
    for name, make in makers.items():
        try:
            answer = make(asked)
        except ImportError:  # only in the extra `bench`
            continue
        times[f"{name}@{rules}"] = float(np.percentile(_times_ms(facts, answer), 99))
    return times


Asked = list[tuple[str, str, float]]


def _cel(asked: Asked) -> Callable[[dict[str, Any]], Any]:
    import cel

    texts = [f"hs4 == '{hs4}' && origin == '{origin}' && value > {value}" for hs4, origin, value in asked]
    programs = [cel.compile(text) for text in texts]

    def answer(facts: dict[str, Any]) -> int:
        context = cel.Context()
        for name, value in facts.items():
            context.add_variable(name, value)
        return sum(one.execute(context) for one in programs)

    return answer


def _zen(asked: Asked) -> Callable[[dict[str, Any]], Any]:
    import zen

    inputs = [{"id": name, "name": name, "field": name, "type": "expression"} for name in ("hs4", "origin", "value")]
    rows = [
        {"_id": str(at), "hs4": f"'{hs4}'", "origin": f"'{origin}'", "value": f"> {value}", "rule": str(at)}
        for at, (hs4, origin, value) in enumerate(asked)
    ]
    content = {"hitPolicy": "collect", "inputs": inputs, "rules": rows,
               "outputs": [{"id": "rule", "name": "rule", "field": "rule", "type": "expression"}]}  # fmt: skip
    nodes = [
        {"id": "in", "name": "in", "type": "inputNode"},
        {"id": "table", "name": "table", "type": "decisionTableNode", "content": content},
        {"id": "out", "name": "out", "type": "outputNode"},
    ]
    edges = [
        {"id": "1", "sourceId": "in", "targetId": "table"},
        {"id": "2", "sourceId": "table", "targetId": "out"},
    ]
    decision = zen.ZenEngine().create_decision(json.dumps({"nodes": nodes, "edges": edges}))
    return lambda facts: decision.evaluate(facts)


def _rule_engine(asked: Asked) -> Callable[[dict[str, Any]], Any]:
    import rule_engine

    rules = [
        rule_engine.Rule(f"hs4 == '{hs4}' and origin == '{origin}' and value > {value}") for hs4, origin, value in asked
    ]
    return lambda facts: sum(one.matches(facts) for one in rules)


if __name__ == "__main__":
    done = measured(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.write(msgspec.json.encode(list(done)).decode())
