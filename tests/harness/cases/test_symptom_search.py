"""The search for a symptom: its arithmetic, and whether reporters' words find their case."""

import math
import os

import pytest
from support.paths import ROOT

from bnguard.errors import BnguardError
from bnguard.harness.cases import catalogue
from bnguard.harness.cases.answers import ANSWERS
from bnguard.harness.cases.docstring import Docstring
from bnguard.harness.cases.symptom_search import DOUBTFUL, FIELD_WEIGHTS, Index, search, terms

pytestmark = pytest.mark.slow


class TestTerms:
    def test_words_become_stems_and_identifiers_stay_whole(self):
        assert terms("Updates of moving_mean") == ["updat", "move", "averag", "moving_mean"]

    def test_words_for_one_thing_are_one_term(self):
        assert terms("running variance in eval") == terms("moving var in validation")

    @pytest.mark.parametrize("text", ["", "the of and", "batch norm layer"])
    def test_words_that_every_text_has_do_not_count(self, text):
        assert terms(text) == []


class TestIndex:
    """BM25 as published: idf * f * (k + 1) / (f + k * (1 - b + b * length / mean length))."""

    def test_the_score_is_the_formula(self):
        index = Index({"a": {"Cause": "alpha alpha beta"}, "b": {"Cause": "gamma"}})
        idf = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
        norm = 1.2 * (1 - 0.6 + 0.6 * 3 / 2)
        expected = idf * 2 * 2.2 / (2 + norm)
        assert index.scores("alpha") == {"a": pytest.approx(expected)}

    def test_a_rare_term_counts_more_than_a_common_one(self):
        index = Index({name: {"Cause": f"common {name}"} for name in ("alpha", "beta", "gamma")})
        assert next(iter(index.scores("common beta"))) == "beta"
        assert index.coverage("common beta", "beta") == 1.0
        assert index.coverage("common beta", "alpha") < 0.5

    def test_a_title_counts_more_than_a_cause(self):
        assert FIELD_WEIGHTS["Title"] > FIELD_WEIGHTS["Cause"]
        index = Index(
            {
                "cause": {"Cause": "alpha", "Title": "beta"},
                "title": {"Title": "alpha", "Cause": "x"},
            }
        )
        assert list(index.scores("alpha")) == ["title", "cause"]

    def test_a_field_without_weight_does_not_count(self):
        assert Index({"a": {"Reports": "alpha"}}).scores("alpha") == {}


# The words of reporters, in ours, and the case whose fix is right.
SYMPTOMS = [
    ("validation loss changes my model", "updates_attached_to_loss"),
    ("moving means still 0", "update_ops_never_run"),
    ("incompatible with expected float_ref", "freeze_keeps_assign"),
    ("you must feed a value for placeholder", "update_ops_pull_other_inputs"),
    ("prediction for one image depends on the batch", "training_flag_true_at_inference"),
    ("inputs from different frames", "update_ops_in_control_flow"),
    ("froze layer, weights still change", "frozen_layer_stats_drift"),
    ("uninitialized value moving_mean", "saver_trainable_only"),
    ("UPDATE_OPS is empty keras", "keras_updates_not_in_collection"),
    ("discriminator real and fake", "gan_mixed_stats"),
    ("evaluation changes the moving averages although is_training is false", "two_branch_cond"),
    (
        "my served model learns from its users' requests",
        "training_flag_placeholder_defaults_to_true",
    ),
    ("only the last tower's update ops are run on 4 GPUs", "multi_tower_updates"),
    (
        "moving_variance turns negative after some steps of fine-tuning",
        "stats_in_trainable_collection",
    ),
    ("the layer seems to do nothing, I did not pass training", "training_flag_default_false"),
    ("scope was renamed, restored network predicts nonsense", "restore_misses_stats"),
    ("added control_dependencies(update_ops) but minimize is outside", "control_dependency_noop"),
    ("the eval worker on the parameter server ruins training", "evaluator_on_parameter_server"),
    ("single image gives a bad result, a batch of 32 is fine", "training_flag_true_at_inference"),
    ("train accuracy 99 %, test accuracy at chance level", "update_ops_never_run"),
]


def test_the_words_of_a_symptom_find_its_case():
    ranks = []
    for text, case in SYMPTOMS:
        names = [match.name for match in search(text) if match.is_case]
        ranks.append(names.index(case) + 1)
    assert sum(rank == 1 for rank in ranks) >= 0.75 * len(ranks)
    assert sum(rank <= 3 for rank in ranks) >= 0.95 * len(ranks)


@pytest.mark.parametrize("name", catalogue.names())
def test_every_case_is_found_by_its_own_symptom(name):
    sections = Docstring(catalogue.find(name, "repro")).sections
    for section in ("Symptom", "Also said as"):
        assert search(sections[section])[0].name == name


class TestAnswers:
    @pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
    def test_an_answer_is_found_by_its_question_and_its_page_exists(self, answer):
        for text in (answer.question, *answer.also_said_as):
            assert answer.name in [match.name for match in search(text)][:3]
        assert os.path.isfile(os.path.join(ROOT, "docs", answer.page))

    def test_their_names_are_no_names_of_cases(self):
        assert not {answer.name for answer in ANSWERS} & set(catalogue.names())
        assert all("_" not in answer.name for answer in ANSWERS)


def test_what_is_foreign_to_the_catalogue_covers_little():
    for text in ("convert COCO annotations to TFRecord", "pip finds no wheel for Python 3.12"):
        assert search(text)[0].coverage < DOUBTFUL
    for text, _ in SYMPTOMS:
        assert search(text)[0].coverage >= DOUBTFUL


def test_words_that_no_symptom_contains_are_a_mistake():
    with pytest.raises(BnguardError, match="no symptom contains any of these words"):
        search("qqq zzz")
