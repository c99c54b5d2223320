import json
from dataclasses import asdict, replace

import pytest

from ml.augment import Augmentation
from ml.configs import PRESETS, TrainConfig, make_config, plan_passes, read_config, read_widths


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_preset_survives_json(preset):
    config = make_config(preset, **{"augment.shift": 0.05}, seed=3)
    assert read_config(json.loads(json.dumps(asdict(config)))) == config


def test_presets_take_longer_from_quick_to_thorough():
    epochs = [make_config(name).epochs for name in PRESETS if name != "retrain"]
    assert epochs == sorted(epochs)
    assert list(PRESETS) == ["quick", "standard", "thorough", "retrain"]


def test_strings_are_parsed_by_the_type_of_the_field():
    config = make_config(
        "quick", epochs="3", learning_rate="1e-2", flip="no", class_weighting="balanced", **{"augment.rotation": "4"}
    )
    assert (config.epochs, config.learning_rate, config.flip) == (3, 0.01, False)
    assert config.class_weighting == "balanced"
    assert config.augment == replace(Augmentation(), rotation=4.0)
    assert make_config("quick", augment='{"zoom": 0.5}').augment.zoom == 0.5
    assert make_config("quick", augment=Augmentation(zoom=0.5)).augment == Augmentation(zoom=0.5)


def test_widths_are_set_together_or_one_by_one():
    assert make_config("quick").widths == ""
    assert make_config("quick", widths="64,,32").widths == "64,,32"
    assert make_config("quick", **{"widths.3": 96, "widths.1": "32"}).widths == "32,,96"
    assert make_config("quick", widths="64,,32", **{"widths.2": 8}).widths == "64,8,32"
    assert read_widths("64,,32") == (64, 0, 32)
    assert read_widths("") == ()


def test_whoever_sets_epochs_gets_just_as_many_passes():
    assert plan_passes(make_config("quick", epochs=3), 20) == (1, 1)
    assert make_config("quick", epochs=3, min_steps=60).min_steps == 60


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"epochs": "many"}, "epochs must be a whole number, not 'many'"),
        ({"epochs": 2.5}, "epochs must be a whole number, not 2.5"),
        ({"epochs": 0}, "epochs must be between 1 and 10000, not 0"),
        ({"epochs": True}, "epochs must be a whole number, not True"),
        ({"learning_rate": "nan"}, "learning_rate must be a number, not 'nan'"),
        ({"learning_rate": -1}, "learning_rate must be between"),
        ({"flip": "maybe"}, "flip must be true or false, not 'maybe'"),
        ({"arch": 3}, "arch must be a word, not 3"),
        ({"class_weighting": "some"}, "class_weighting must be one of none, balanced, not 'some'"),
        ({"precision": "int8"}, "precision must be one of auto, float32, bfloat16, float16, not 'int8'"),
        ({"lr": 1}, "a training has no setting 'lr': use arch, image_size"),
        ({"augment.shift": 2}, "augment.shift must be between 0 and 1, not 2"),
        ({"augment.wobble": 2}, "a training has no setting 'augment.wobble': use augment.flip"),
        ({"widths": "64,wide"}, "widths must be whole numbers from 1 to 65536, such as 64,,32, not '64,wide'"),
        ({"widths.2": "0"}, "widths must be whole numbers from 1 to 65536, such as 64,,32, not ',0'"),
        ({"widths.x": 3}, "a layer of widths has a number from 1 to 64, not 'x'"),
        ({"dropout": 1.5}, "dropout must be between -1 and 0.99, not 1.5"),
        ({"augment": "strong"}, "augment must be a JSON object of strengths, not 'strong'"),
        ({"augment": "[1]"}, "augment must be a JSON object of strengths"),
    ],
)
def test_make_config_refuses_in_one_sentence(overrides, sentence):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the sentence is compared below
        make_config("quick", **overrides)
    assert str(refusal.value).startswith(sentence)
    assert "\n" not in str(refusal.value)


def test_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="no preset is called 'fast': use quick, standard, thorough"):
        make_config("fast")


def test_flip_switch_leaves_the_other_strengths():
    config = make_config("quick", flip=False)
    assert config.augmentation == replace(config.augment, flip=0.0)
    assert make_config("quick").augmentation == make_config("quick").augment


@pytest.mark.parametrize("count", [1, 2, 3, 20, 100, 1437, 28_558, 1_000_000])
@pytest.mark.parametrize("batch_size", [1, 2, 128])
def test_plan_reaches_the_steps_without_batches_of_one(count, batch_size):
    config = TrainConfig(batch_size=batch_size, epochs=10, min_steps=200)
    passes, steps = plan_passes(config, count)
    assert passes * steps * config.epochs >= config.min_steps * 2 / 3
    assert steps == 1 or count / steps >= 2
    assert count / steps <= max(batch_size, 3)


def test_plan_makes_smaller_batches_before_more_passes():
    config = TrainConfig(batch_size=128, epochs=10, min_steps=200)
    assert plan_passes(config, 28_558) == (1, 224)
    assert plan_passes(config, 1_280) == (1, 20)  # 64 images a step
    assert plan_passes(config, 100) == (10, 2)  # 50 images a step
