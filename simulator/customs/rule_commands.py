"""`borderlane rules`: the risk rule book and what is learned from control results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from agent.errors import ConfigError
from simulator.customs.book_commands import register

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The risk rule book, and learning from controls.")

_CSV = "Labelled declarations as CSV, plain or gzip."


register(app)


@app.callback()
def _rules() -> None:
    """The risk rule book."""


@app.command("eval")
def evaluate(
    train_csv: Annotated[Path, typer.Option("--train", help=f"{_CSV} Learned from.")],
    test_csv: Annotated[Path, typer.Option("--test", help=f"{_CSV} Scored; they should be later.")],
    model: Annotated[str, typer.Option(help="default: the additive pair card; boosted: deeper trees.")] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Learn from one labelled file and score a later one.

    Prints the area under the ROC curve and the precision of the highest 2, 5 and 10 percent beside choice at
    random, and what learning day by day is worth. Needs the extra `ml`.
    """
    if model not in ("default", "boosted"):
        _usage(f"--model {model}: expected default or boosted")
    try:
        figures = _figures(train_csv, test_csv, model)
    except ConfigError as error:
        _usage(str(error))
    typer.echo(msgspec.json.format(msgspec.json.encode(figures), indent=1).decode() if as_json else _table(figures))


@app.command("usage")
def show_usage(
    data: Annotated[Path, typer.Option(help="Data folder of the customs service.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Rules and list entries by hits and finds, beside controls drawn by lot; says which are changing."""
    from agent.errors import JournalError
    from simulator.customs.store import read_counters
    from simulator.customs.usage import RECENT, table, usage

    try:
        found = usage(*read_counters(data, RECENT))
    except JournalError as error:
        _usage(str(error))
    typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=1).decode() if as_json else table(found))


@app.command("train")
def train_model(
    train_csv: Annotated[Path, typer.Option("--train", help=f"{_CSV} Learned from.")],
    out: Annotated[Path, typer.Option(help="Folder for the model and its counts.")],
    model: Annotated[str, typer.Option(help="default: the additive pair card; boosted: deeper trees.")] = "default",
    chf_of_price: Annotated[float, typer.Option(help="Francs in one unit of the file's prices.", min=1e-9)] = 1.0,
) -> None:
    """Learn a model for the score card from a labelled file and write it with the counts that it starts from.

    `risk.model` of the customs service names the folder. Needs the extra `ml`.
    """
    if model not in ("default", "boosted"):
        _usage(f"--model {model}: expected default or boosted")
    try:
        typer.echo(_trained(train_csv, out, model, chf_of_price))
    except ConfigError as error:
        _usage(str(error))


def _trained(train_csv: Path, out: Path, model: Any, chf_of_price: float) -> str:
    from simulator.customs.labelled import read_lines
    from simulator.customs.models import COUNTS, SHIPPED, load_learned, packed
    from simulator.customs.training import counts_file, train

    lines = read_lines(train_csv)
    fitted = train(lines, model, chf_of_price)
    out.mkdir(parents=True, exist_ok=True)
    (out / SHIPPED[model]).write_bytes(packed(msgspec.json.encode(fitted)))
    (out / COUNTS).write_bytes(packed(msgspec.json.encode(counts_file(lines))))
    return f"{load_learned(out, SHIPPED[model]).model.version}: learned from {len(lines)} lines; written to {out}"


@app.command("rename")
def rename(
    labelled: Annotated[Path, typer.Argument(help=_CSV)],
    out: Annotated[Path, typer.Option(help="Where to write the renamed file, gzip.")],
) -> None:
    """Give the parties and declarations of a labelled file other numbers, the same party the same number."""
    from simulator.customs.models import renamed

    try:
        out.write_bytes(renamed(labelled))
    except ConfigError as error:
        _usage(str(error))


def _usage(message: str) -> NoReturn:
    typer.echo(f"borderlane rules: {message}", err=True)
    raise typer.Exit(2)


def _figures(train_csv: Path, test_csv: Path, model: Any) -> dict[str, Any]:
    """Everything the command says. Imported only now: numpy would cost the other commands their start."""
    import numpy as np

    from agent.risk.model import load_model
    from simulator.customs.feedback_loop import hit_rates
    from simulator.customs.labelled import read_lines
    from simulator.customs.training import SEED, count, describe, quality, train

    learned, later = read_lines(train_csv), read_lines(test_csv)
    fitted = load_model(msgspec.json.encode(train(learned, model)))
    rows = describe(later, count(learned)).tolist()
    scores = np.array([fitted.milli_points(row) for row in rows], np.float64)
    dice = np.random.default_rng(SEED).permutation(len(later)).astype(np.float64)
    return {
        "model": model,
        "modelVersion": fitted.version,
        "lines": {"train": len(learned), "test": len(later)},
        "baseRate": round(float(later.found.mean()), 4),
        **quality(scores, later.found).facts(),
        "random": quality(dice, later.found).facts(),
        "feedback": hit_rates(learned),
    }


def _table(figures: dict[str, Any]) -> str:
    chance = figures["random"]
    lines = [
        f"{figures['modelVersion']}: learned from {figures['lines']['train']} lines, scored {figures['lines']['test']}"
        f" later ones, of which {figures['baseRate']:.1%} had a finding",
        f"{'':22}{'model':>8}{'random':>8}",
        f"{'area under ROC':22}{figures['auc']:8.3f}{chance['auc']:8.3f}",
    ]
    for share, value in figures["precision"].items():
        lines.append(f"{f'precision, top {share} %':22}{value:8.3f}{chance['precision'][share]:8.3f}")
    for name, value in figures["feedback"].items():
        lines.append(f"{f'finds, {name}':34}{value:.3f}")
    return "\n".join(lines)
