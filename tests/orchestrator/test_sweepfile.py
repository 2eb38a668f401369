"""A sweep file's mistakes are named with their line, what was expected, and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.errors import SweepError
from orchestrator.sweep.file import load_sweep, presets

SOUND = """\
name: mine
budgets: [1e9, 3e9]
sizes: {shapes: [{width: 8}, {width: 16}]}
batch: 256
optimizer: {learning_rate: 7e-3, beta2_half_life_tokens: 3.5e4}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return path


def message(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(SweepError) as caught:
        load_sweep(write(tmp_path, text), overrides)
    return str(caught.value)


def test_a_sound_file_loads_with_numbers_that_yaml_alone_reads_as_text(tmp_path: Path) -> None:
    sweep = load_sweep(write(tmp_path, SOUND))
    assert [budget.flops for budget in sweep.budgets] == [1e9, 3e9]
    assert sweep.optimizer.learning_rate == 7e-3


@pytest.mark.parametrize("name", presets())
def test_every_preset_loads(name: str) -> None:
    assert load_sweep(name).name == name


def test_an_unknown_key_is_named_with_its_line_and_the_likely_one(tmp_path: Path) -> None:
    said = message(tmp_path, SOUND.replace("budgets", "budgts"))
    assert 'sweep.yaml:2 budgts: unknown key. Did you mean "budgets"?' in said


def test_an_unknown_key_of_a_section_is_named_with_its_path(tmp_path: Path) -> None:
    said = message(tmp_path, SOUND + "schedule:\n  warmup_shar: 0.1\n")
    assert 'sweep.yaml:7 schedule.warmup_shar: unknown key. Did you mean "warmup_share"?' in said


def test_a_number_as_text_is_shown_as_text(tmp_path: Path) -> None:
    said = message(tmp_path, SOUND.replace("batch: 256", 'batch: "many"'))
    assert "sweep.yaml:4 batch" in said
    assert '"many" (text)' in said


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    said = message(tmp_path, SOUND.replace("name: mine", "nme: mine").replace("[1e9, 3e9]", "[-1]"))
    assert "nme" in said
    assert "name: missing" in said
    assert "budgets.0" in said


def test_two_ways_to_give_sizes_are_refused(tmp_path: Path) -> None:
    text = SOUND.replace("{shapes:", "{range: {min: 1e3, max: 1e4}, shapes:")
    assert "exactly one" in message(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "part"),
    [("name: [", "is not YAML"), ("- a\n- b\n", "holds list"), ("", "holds NoneType")],
)
def test_what_is_not_a_mapping_is_refused(tmp_path: Path, text: str, part: str) -> None:
    assert part in message(tmp_path, text)


def test_a_missing_file_offers_the_preset_that_was_meant() -> None:
    with pytest.raises(SweepError, match='Did you mean "quickstart"'):
        load_sweep("quickstrat")


def test_settings_replace_values_by_dotted_path(tmp_path: Path) -> None:
    sweep = load_sweep(write(tmp_path, SOUND), ["data.allow_epochs=4", "budgets=[1e10]", "name=other"])
    assert (sweep.data.allow_epochs, sweep.budgets[0].flops, sweep.name) == (4, 1e10, "other")


@pytest.mark.parametrize("setting", ["budgets", "=3", "budgets=[1e9"])
def test_a_setting_that_is_none_is_refused(tmp_path: Path, setting: str) -> None:
    assert "--set" in message(tmp_path, SOUND, setting)


def test_an_entry_of_a_list_is_set_by_its_number() -> None:
    sweep = load_sweep("quickstart", ["budgets.0.seeds=[3, 4]", "budgets.1.flops=2e11"])
    assert [budget.seeds for budget in sweep.budgets] == [[3, 4], 3, 2]
    assert [budget.flops for budget in sweep.budgets] == [3e10, 2e11, 3e11]
    assert load_sweep("smoke", ["budgets.1=2e9"]).budgets[1].flops == 2e9


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("budgets.7.seeds=1", "7 lies in a list of 3; expected a number from 0 to 2"),
        ("budgets.last=1", "last lies in a list of 3"),
    ],
)
def test_a_number_that_a_list_does_not_have_is_refused(override: str, said: str) -> None:
    with pytest.raises(SweepError, match=re.escape(said)):
        load_sweep("quickstart", [override])


def test_files_are_relative_to_the_sweep_file(tmp_path: Path) -> None:
    sweep = load_sweep(write(tmp_path, SOUND + "data: {source: text, files: [book.txt]}\n"))
    assert sweep.data.files == [str(tmp_path / "book.txt")]


def test_the_hash_follows_the_content_and_not_the_layout(tmp_path: Path) -> None:
    first = load_sweep(write(tmp_path, SOUND)).content_hash
    assert load_sweep(write(tmp_path, SOUND + "seeds: 1\nmin_steps: 50\n")).content_hash == first
    assert load_sweep(write(tmp_path, SOUND + "seeds: 2\n")).content_hash != first


def test_only_our_own_trainer_is_compiled() -> None:
    with pytest.raises(
        SweepError, match=r"resources\.compile is on with a trainer of your own.*compile in your trainer"
    ):
        load_sweep("smoke", ["resources.compile=true", "trainer=os:getcwd"])
