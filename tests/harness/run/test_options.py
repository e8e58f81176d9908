"""Each option is described once: the command line and the check use the same metadata."""

from dataclasses import fields

import click
import pytest

from bnguard.cli.cases import compare, fixed, repro
from bnguard.cli.options import make_options
from bnguard.errors import BnguardError
from bnguard.harness.run.options import BuildOptions, Options, flag

SPECS = [spec for spec in (*fields(Options), *fields(BuildOptions)) if spec.name != "build"]


@pytest.mark.parametrize("command", [repro, fixed, compare], ids=lambda command: command.name)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_field_is_an_option_of_every_run(command, spec):
    (option,) = [option for option in command.params if option.name == spec.name]
    assert option.opts == [flag(spec)]
    assert option.help == spec.metadata["help"]
    if "minimum" in spec.metadata:
        assert (option.type.min, option.type.max) == (
            spec.metadata["minimum"],
            spec.metadata["maximum"],
        )
    if "choices" in spec.metadata:
        assert tuple(option.type.choices) == spec.metadata["choices"]


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ([], {}),
        (["--no-train"], {"train": False}),
        (["--seed", "0", "--batch-size", "7"], {"seed": 0, "batch_size": 7}),
        (["--restore", "model.ckpt"], {"restore": "model.ckpt"}),
        (["--fused", "auto"], {"build": BuildOptions(fused="auto")}),
    ],
)
def test_the_command_line_makes_the_options(arguments, changed):
    context = repro.make_context("repro", ["case", *arguments])
    assert make_options(context.params) == Options(**changed)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train_steps": 0}, "--train-steps: got 0; expected an integer from 1 to 2147483647."),
        ({"infer_steps": 2**31}, "--infer-steps: got 2147483648; expected an integer from 1"),
        ({"batch_size": 1.5}, "--batch-size: got 1.5; expected an integer from 1"),
        ({"batch_size": True}, "--batch-size: got True; expected an integer from 1"),
        ({"seed": 2**32}, "--seed: got 4294967296; expected an integer from 0 to 4294967295."),
        ({"restore": ""}, "--restore: got ''; expected a path that is not empty."),
        ({"checkpoint_dir": None}, "--checkpoint-dir: got None; expected a path that is not"),
        ({"train": 1}, "--no-train: got 1; expected True or False."),
    ],
)
def test_a_value_out_of_range_is_an_error(values, message):
    with pytest.raises(BnguardError) as error:
        Options(**values)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fused": "maybe"}, "--fused: got 'maybe'; expected one of auto, yes, no."),
        ({"variables": "v1"}, "--variables: got 'v1'; expected one of ref, resource."),
        ({"control_flow": ["v1"]}, "--control-flow: got ['v1']; expected one of v1, v2."),
    ],
)
def test_an_unknown_choice_is_an_error(values, message):
    with pytest.raises(BnguardError) as error:
        BuildOptions(**values)
    assert str(error.value) == message


def test_the_largest_and_smallest_values_are_accepted():
    assert Options(train_steps=2**31 - 1, batch_size=1, seed=2**32 - 1).seed == 2**32 - 1


@pytest.mark.parametrize(("fused", "argument"), [("auto", None), ("yes", True), ("no", False)])
def test_fused_becomes_the_argument_of_the_layer(fused, argument):
    assert BuildOptions(fused=fused).fused_argument is argument


def test_an_empty_path_is_a_usage_error():
    with pytest.raises(click.UsageError, match="it is empty"):
        repro.make_context("repro", ["case", "--restore", ""])
