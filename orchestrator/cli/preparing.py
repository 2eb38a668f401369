"""The verb `prepare`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import app

if TYPE_CHECKING:
    from orchestrator.inputs import HubDataset, Input
    from orchestrator.preparation import Prepared


@app.command()
def prepare(
    out: Annotated[Path, typer.Option(help="Folder for the shards; made here.")],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE", help="More files of the kind that is named.")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(metavar="FILE", help="Text files, folders or globs.")] = None,
    jsonl: Annotated[list[str] | None, typer.Option(metavar="FILE", help="JSON lines.")] = None,
    parquet: Annotated[list[str] | None, typer.Option(metavar="FILE", help="Parquet files.")] = None,
    tokens: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Files of 16-bit tokens: llm.c's shards, nanoGPT's bins.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="A Hugging Face dataset (needs isoflop[datasets]).")] = None,
    config: Annotated[str | None, typer.Option(help="For --dataset: its configuration.")] = None,
    dataset_split: Annotated[str, typer.Option("--split", help="For --dataset: which of its splits.")] = "train",
    source: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILES", help="A named source of a mixture; kind by suffix.")
    ] = None,
    field: Annotated[
        str, typer.Option("--field", "--column", help="Field of JSON lines, or column of Parquet, with the text.")
    ] = "text",
    tokenizer: Annotated[str, typer.Option(help="bytes, or a tokenizer.json (needs isoflop[tokenizers]).")] = "bytes",
    vocab: Annotated[int | None, typer.Option(help="For --tokens: number of token ids.")] = None,
    separator: Annotated[int | None, typer.Option(help="For --tokens: the token that ends a document.")] = None,
    bytes_per_token: Annotated[
        float | None, typer.Option(help="For --tokens: bytes of text for each token, for bits per byte.")
    ] = None,
    piece_bytes: Annotated[
        int | None, typer.Option(min=2, help="Least bytes of the pieces that few long documents are cut into.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the text, kept with it.")] = "not stated",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Tokenise text into shards that sweeps can train on."""
    from dataclasses import replace

    from orchestrator import inputs
    from orchestrator.errors import DataError
    from orchestrator.preparation import Settings
    from orchestrator.preparation import prepare as prepare_data

    kinds: dict[inputs.Kind, list[str] | None] = {"text": text, "jsonl": jsonl, "parquet": parquet, "tokens": tokens}
    wanted: list[Input | HubDataset] = [
        inputs.Input(source="", kind=kind, patterns=tuple(patterns), field=field)
        for kind, patterns in kinds.items()
        if patterns
    ]
    if files:
        if len(wanted) != 1:
            raise DataError(
                f"{' '.join(files)}: of which kind? Expected files after exactly one of --text, --jsonl, --parquet and "
                "--tokens. Name the kind before them."
            )
        (one,) = wanted
        assert isinstance(one, inputs.Input)
        wanted = [replace(one, patterns=(*one.patterns, *files))]
    wanted += [replace(inputs.named(each), field=field) for each in source or ()]
    if dataset:
        wanted.append(inputs.HubDataset(source="", name=dataset, config=config, split=dataset_split, field=field))
    settings = Settings(
        tokenizer=tokenizer,
        vocab=vocab,
        separator=separator,
        bytes_per_token=bytes_per_token,
        piece_bytes=piece_bytes,
        licence=licence,
    )
    if sizes := [path.stat().st_size for one in wanted if isinstance(one, inputs.Input) for path in inputs.paths(one)]:
        typer.echo(f"preparing {len(sizes):,} files, {sum(sizes) / 1e6:,.1f} MB", err=True)
    prepared = prepare_data(wanted, out, settings)
    if as_json:
        json.dump(_document(prepared), sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        _show(prepared)


def _document(prepared: Prepared) -> dict[str, Any]:
    manifest = prepared.manifest
    sources = {
        source.name or "text": {
            name: {
                "documents": len(source.split(name).documents),
                "tokens": source.split(name).tokens,
                "bytes_per_token": source.split(name).bytes_per_token,
                "shards": [shard.file for shard in source.split(name).shards],
            }
            for name in ("train", "heldout", "tuning")
        }
        for source in manifest.sources
    }
    return {
        "folder": str(prepared.folder),
        "hash": manifest.hash,
        "vocab": manifest.vocab,
        "tokenizer": manifest.tokenizer,
        "withdrawn_bytes": manifest.withdrawn_bytes,
        "repeated": prepared.repeated,
        "sources": sources,
        **{name: value for name, value in manifest.notes if name != "inputs"},
    }


def _show(prepared: Prepared) -> None:
    from orchestrator.cli.console import console, table

    document, out = _document(prepared), console()
    if prepared.started_over:
        out.print("an unfinished preparation was there: thrown away, started over")
    if prepared.repeated:
        out.print("prepared before from the same files in the same way: nothing to do")
    about = (
        f"{document['documents']:,} documents; left out: {document['duplicates']:,} duplicates, "
        f"{document['near_copies']:,} near-copies, {document['withdrawn_bytes']:,} bytes of long held-out documents"
    )
    out.print(about)
    rows = table("source", "split", "documents", "tokens", "bytes/token", "shards", left=("source", "split"))
    for name, splits in document["sources"].items():
        for split, held in splits.items():
            size = held["bytes_per_token"]
            shown = "not known" if size is None else f"{size:.3f}"
            rows.add_row(name, split, f"{held['documents']:,}", f"{held['tokens']:,}", shown, str(len(held["shards"])))
    out.print(rows)
    for name in document["contiguous"]:
        out.print(
            f"{name or 'this'} is too little text to draw held-out documents from: cut in its own order into "
            "contiguous parts, the beginning to train on, then held out, then tuning"
        )
    out.print(f"vocabulary {document['vocab']:,} ids   hash {document['hash'][:12]}   folder {document['folder']}")
    out.print(
        f"next: isoflop doctor --data {document['folder']}, then data: {{source: shards, path: {document['folder']}}}"
    )
