"""`isoflop prepare`, `doctor --data` and sweeps on prepared data, by what they print."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.cli import main
from trainer.data.shards import write_shard

Said = tuple[int, str, str]
"""Exit code, and what stdout and stderr hold."""

README = Path(__file__).resolve().parents[2] / "README.md"

SWEEP = """\
name: tiny
budgets: [{budget}]
sizes: {{shapes: [{{width: 4}}]}}
model: {{layers: 1, context: {context}}}
data: {data}
batch: 64
min_steps: 5
optimizer: {{learning_rate: 8e-3, beta2_half_life_tokens: 10000}}
"""


@pytest.fixture
def isoflop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The command in this process."""

    def call(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["isoflop", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err.replace("\n", " ")

    return call


def words(size: int, seed: int = 0) -> str:
    draw = random.Random(seed)
    return "\n".join(" ".join(str(draw.randrange(1000)) for _ in range(12)) for _ in range(size // 47))


@pytest.fixture
def shards(tmp_path: Path, isoflop: Callable[..., Said]) -> Path:
    (tmp_path / "text.txt").write_text(words(60_000))
    assert isoflop("prepare", "--text", tmp_path / "text.txt", "--out", tmp_path / "shards")[0] == 0
    return tmp_path / "shards"


def run(isoflop: Callable[..., Said], folder: Path, data: str, context: int = 32) -> Said:
    (folder / "sweep.yaml").write_text(
        SWEEP.format(data=data, context=context, budget="1e9" if context > 100 else "1e8")
    )
    return isoflop("run", folder / "sweep.yaml", "--inline", "--yes", "--store", folder / "store")


def test_the_readme_becomes_shards_that_the_doctor_finds_well(tmp_path: Path, isoflop: Callable[..., Said]) -> None:
    code, out, _ = isoflop("prepare", "--text", README, "--out", tmp_path / "shards")
    assert code == 0
    assert "1 documents; left out: 0 duplicates" in out
    assert "cut in its own order into contiguous parts" in out.replace("\n", " ")
    from orchestrator.doctor.shards import is_prepared
    from orchestrator.doctor.shards import shards as look

    assert is_prepared(str(tmp_path / "shards"))
    findings = {finding.name: finding for finding in look(str(tmp_path / "shards"))}
    assert {finding.severity for finding in findings.values()} == {"ok", "warning"}
    assert findings["held out"].severity == "warning"
    assert "Add text until there are 20 documents" in findings["held out"].fix


def test_a_repeated_preparation_says_so_and_another_is_refused(shards: Path, isoflop: Callable[..., Said]) -> None:
    text = shards.parent / "text.txt"
    code, out, _ = isoflop("prepare", "--text", text, "--out", shards, "--json")
    assert code == 0
    assert json.loads(out)["repeated"] is True
    text.write_text(words(60_000, seed=1))
    code, _, err = isoflop("prepare", "--text", text, "--out", shards)
    assert code == 1
    assert "was prepared from other text or in another way" in err
    assert "choose another --out, or delete this one" in err


def test_an_unfinished_preparation_is_thrown_away(tmp_path: Path, isoflop: Callable[..., Said]) -> None:
    left = tmp_path / ".shards.partial-4194305"  # above Linux's largest process id
    left.mkdir()
    (left / "train-00000.bin").write_bytes(b"half")
    (tmp_path / "text.txt").write_text(words(20_000))
    code, out, _ = isoflop("prepare", "--text", tmp_path / "text.txt", "--out", tmp_path / "shards")
    assert code == 0
    assert "an unfinished preparation was there: thrown away, started over" in out
    assert not left.exists()


def test_every_kind_of_file_gives_the_same_corpus(tmp_path: Path, isoflop: Callable[..., Said]) -> None:
    rows = words(40_000).split("\n")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"body": row}) + "\n" for row in rows))
    pq.write_table(pa.table({"body": rows}), tmp_path / "a.parquet")
    documents = [np.frombuffer(row.encode() + b"\0", np.uint8).astype(np.uint16) for row in rows]
    np.concatenate(documents).tofile(tmp_path / "a.bin")
    write_shard(tmp_path / "b.bin", np.concatenate(documents))
    made = {}
    for name, options in {
        "jsonl": ["--jsonl", tmp_path / "a.jsonl", "--field", "body"],
        "parquet": ["--parquet", tmp_path / "a.parquet", "--column", "body"],
        "headless": ["--tokens", tmp_path / "a.bin", "--vocab", 256, "--separator", 0],
        "shard": ["--tokens", tmp_path / "b.bin", "--vocab", 256, "--separator", 0],
    }.items():
        code, out, err = isoflop("prepare", *options, "--out", tmp_path / name, "--json")
        assert code == 0, err
        made[name] = json.loads(out)
    assert made["jsonl"]["hash"] == made["parquet"]["hash"]
    assert made["headless"]["hash"] == made["shard"]["hash"]
    assert made["jsonl"]["documents"] == len(rows) == made["shard"]["documents"]
    tokens = {name: sum(part["tokens"] for part in one["sources"]["text"].values()) for name, one in made.items()}
    assert tokens == dict.fromkeys(made, sum(map(len, documents)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "there is nothing to prepare; expected text. Name it with --text"),
        (["--text", "nowhere.txt"], "text file 'nowhere.txt' is not there; expected a file"),
        (["--jsonl", "bad.jsonl"], "bad.jsonl:2: not JSON"),
        (["--jsonl", "good.jsonl"], 'good.jsonl:1: no field "text"; expected an object with the text there. Name'),
        (["--parquet", "bad.jsonl"], "bad.jsonl is no Parquet file"),
        (["--tokens", "a.bin"], "no --vocab for files of tokens; expected --vocab for files of tokens alone"),
        (["--tokens", "a.bin", "--vocab", "100"], "a.bin has token 4,095, the vocabulary ends at 99; expected every"),
        (["--tokens", "odd.bin", "--vocab", "100"], "odd.bin is torn: 3 bytes are no whole number of 16-bit tokens"),
        (["--tokens", "swapped.bin", "--vocab", "5000"], "swapped.bin is of another byte order"),
        (["--text", "a.txt", "--tokens", "a.bin", "--vocab", "5000"], "files of tokens and text are given together"),
        (["--source", "books"], "--source books: expected NAME=FILES"),
        (["--source", "a=a.txt", "--text", "a.txt"], "some text has a source (a), some has none; expected a name"),
        (["--text", "a.txt", "--tokenizer", "t.json"], "tokenizer 't.json' is not there; expected `bytes` or"),
        (["--dataset", "books"], "dataset books needs the library `datasets`, which is not installed; expected it"),
        (["more.txt"], "more.txt: of which kind? Expected files after exactly one of --text"),
    ],
)
def test_a_mistake_is_one_message(
    arguments: list[str], said: str, tmp_path: Path, isoflop: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    Path("a.txt").write_text(words(3000))
    Path("good.jsonl").write_text('{"body": "x"}\n')
    Path("bad.jsonl").write_text('{"text": "x"}\n{"text": \n')
    np.array([1, 4095], np.uint16).tofile("a.bin")
    Path("odd.bin").write_bytes(b"abc")
    write_shard(Path("swapped.bin"), np.arange(10, dtype=np.uint16))
    np.fromfile("swapped.bin", "<i4").byteswap().tofile("swapped.bin")
    code, _, err = isoflop("prepare", *arguments, "--out", "shards")
    assert code == 1
    assert said in err
    assert "Traceback" not in err
    assert not Path("shards").exists()


def damaged(shards: Path, damage: str) -> None:
    """Spoil prepared shards in one way."""
    path = shards / "train-00000.bin"
    content = bytearray(path.read_bytes())
    if damage == "torn":
        path.write_bytes(content[:-7])
    elif damage == "byte order":
        path.write_bytes(np.frombuffer(bytes(content[:1024]), "<i4").byteswap().tobytes() + bytes(content[1024:]))
    elif damage == "changed":
        content[-4] ^= 1
        path.write_bytes(content)
    elif damage == "missing":
        path.unlink()
    elif damage == "vocabulary":
        manifest = json.loads((shards / "manifest.json").read_text())
        (shards / "manifest.json").write_text(json.dumps(manifest | {"vocab": 50}))
        _seal(shards)


def _seal(shards: Path) -> None:
    """Make the manifest's hash fit what it says, as a tool of somebody else's might."""
    from dataclasses import replace

    from trainer.data.manifests import read_manifest, shards_hash, to_json

    manifest = read_manifest(shards)
    digest = shards_hash(manifest.vocab, manifest.tokenizer, manifest.sources)
    (shards / "manifest.json").write_text(to_json(replace(manifest, hash=digest)))


@pytest.mark.parametrize(
    ("damage", "check", "said"),
    [
        ("torn", "shard", "is torn: its header says"),
        ("byte order", "shard", "is of another byte order"),
        ("missing", "shard", "is not there; expected a"),
        ("changed", "hash", "were changed after the snapshot"),
        ("vocabulary", "vocabulary", "the vocabulary says 50 ids; expected every token below that"),
    ],
)
def test_damage_is_found_by_the_doctor_and_refused_by_a_sweep(
    damage: str, check: str, said: str, shards: Path, isoflop: Callable[..., Said]
) -> None:
    from orchestrator.doctor.shards import shards as look

    damaged(shards, damage)
    (found,) = (finding for finding in look(str(shards)) if finding.severity == "error")
    assert found.name == check
    assert said in found.found
    assert "repare" in found.fix
    code, _, err = run(isoflop, shards.parent, f"{{source: shards, path: {shards}, heldout_tokens: 2048}}")
    assert code == 1
    assert said.replace("expected a", "expected") in err
    assert not (shards.parent / "store" / "commits").exists()


def test_shards_without_a_manifest_are_named(tmp_path: Path) -> None:
    from orchestrator.doctor.shards import shards as look

    write_shard(tmp_path / "fineweb_train_000001.bin", np.arange(10, dtype=np.uint16))
    (found,) = look(str(tmp_path))
    assert found.severity == "error"
    assert "isoflop prepare --tokens" in found.fix


@pytest.mark.parametrize(
    ("data", "context", "said"),
    [
        ("{source: shards, path: nowhere}", 32, "no corpus in"),
        ("{source: shards}", 32, "source is shards and path is None; expected a path for `shards`"),
        ("{source: shards, path: shards, heldout_tokens: 4096}", 260, "does not fit into any held-out document"),
        ("{source: shards, path: shards, heldout_tokens: 1e6}", 32, "Set heldout_tokens between 32 and"),
        ("{source: shards, path: shards, heldout_tokens: 32}", 32, "expected at least 2, for its standard error"),
        ("{source: shards, path: shards, unique_tokens: 0}", 32, "unique_tokens: 0; input should be greater than"),
        ("{source: shards, path: shards, heldout_tokens: 2048, unique_tokens: 31}", 32, "no window of 32; expected"),
        ("{source: shards, path: shards, heldout_tokens: 2048, unique_tokens: 1e6}", 32, "are asked for, the text has"),
        ("{source: shards, path: shards, order: 2, symbols: 8}", 32, "symbols with source shards; expected it with"),
        ("{source: synthetic, order: 9}", 32, "a chain of order 9 over 16 symbols has"),
        ("{source: stdlib, mixture: {a: {weight: 0}}}", 32, "every weight of the mixture is 0; expected at least one"),
        ("{source: shards, path: shards, mixture: {a: {}}}", 32, "source, path beside mixture; expected one source"),
        ("{mixture: {a: {source: shards, path: shards}, b: {source: synthetic}}}", 32, "have different vocabularies"),
    ],
)
def test_data_that_cannot_serve_is_refused_before_training(
    data: str, context: int, said: str, shards: Path, isoflop: Callable[..., Said]
) -> None:
    code, _, err = run(isoflop, shards.parent, data, context)
    assert code == 1
    assert said in err
    assert "Traceback" not in err
    assert not (shards.parent / "store" / "commits").exists()


def test_a_sweep_trains_on_prepared_shards_and_keeps_its_own_copy(shards: Path, isoflop: Callable[..., Said]) -> None:
    data = "{source: shards, path: shards, heldout_tokens: 2048, unique_tokens: 16000, allow_epochs: 10}"
    assert run(isoflop, shards.parent, data)[0] == 0
    code, out, _ = isoflop(
        "query", shards.parent / "store", "select tokens, vocab, epochs, unique_tokens, bpb, loss from runs", "--json"
    )
    (row,) = json.loads(out)
    assert code == 0
    assert row["vocab"] == 256
    assert row["unique_tokens"] == 16_000
    assert row["epochs"] == pytest.approx(row["tokens"] / 16_000)
    assert row["bpb"] == pytest.approx(row["loss"] / np.log(2))
    for path in shards.glob("*.bin"):
        path.unlink()
    assert run(isoflop, shards.parent, data)[0] == 0  # the store's snapshot is all it needs


def test_large_shards_stay_where_they_are(
    shards: Path, isoflop: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.corpora.COPY_BYTES", 1000)
    data = "{source: shards, path: shards, heldout_tokens: 2048, allow_epochs: 10}"
    assert run(isoflop, shards.parent, data)[0] == 0
    assert not list((shards.parent / "store" / "corpus").rglob("*.bin"))


def test_a_mixture_is_scored_by_source(tmp_path: Path, isoflop: Callable[..., Said]) -> None:
    (tmp_path / "numbers.txt").write_text(words(60_000))
    (tmp_path / "letters.txt").write_text(words(60_000).translate(str.maketrans("0123456789", "abcdefghij")))
    data = (
        "{mixture: {numbers: {source: text, files: [numbers.txt], weight: 3}, letters: {source: text, files: [letters.txt]}},"
        " heldout_tokens: 4096, allow_epochs: 10}"
    )
    code, _, err = run(isoflop, tmp_path, data)
    assert code == 0, err
    _, out, _ = isoflop("query", tmp_path / "store", "select mixture, epochs from runs", "--json")
    assert json.loads(json.loads(out)[0]["mixture"]) == {"numbers": 0.75, "letters": 0.25}
    _, out, _ = isoflop(
        "query", tmp_path / "store", "select source, loss, tokens from evaluations order by 1", "--json"
    )
    letters, numbers = json.loads(out)
    assert (letters["source"], numbers["source"]) == ("letters", "numbers")
    assert numbers["loss"] < letters["loss"]
    assert letters["tokens"] == 2048
