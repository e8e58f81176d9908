"""The page: its cells, its texts, that nothing in it is markup of others, and how it looks."""

import pytest
from support.pages.browser import BROWSER, measured
from support.pages.html_page import cells, read_page
from support.samples import EVERY

from bnguard.analysis.findings import Assumptions, Finding, Location, Op
from bnguard.analysis.formatters import format_reports
from bnguard.analysis.formatters.html import page
from bnguard.analysis.report import Report
from bnguard.analysis.timeline import LayerUse, Timeline, TimelineStep

LAYERS = ("net/block1/conv1/BatchNorm", "net/block1/conv2/BatchNorm", "net/head/BatchNorm")
HOSTILE = "</style><script>alert(1)</script>&amp;<img src=x onerror=alert(1)>\"'\x1b[31m\u202e\n"
SHOWN = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e").replace("\n", "\\n")
PATH = (Op("logits", "Identity"), Op("net/update", "AssignSub"))
AT = Location("models/net.py", 42, "block", "h = batch_norm(h)")


def use(layer, **fields):
    return LayerUse(path=PATH, location=AT, **fields)


def names(layer):
    return (f"{layer}/moving_mean", f"{layer}/moving_variance")


def reads(layer):
    return use(layer, read=names(layer))


def writes(layer, **fields):
    return use(layer, written=names(layer), **fields)


def step(kind, uses, fetch="logits:0", runs=3, label="logits, is_training=False"):
    at = Location("train.py", 88, "", "")
    return TimelineStep(label, fetch, kind, runs, at, f"{kind}; writes 2 statistics", tuple(uses))


def finding(layer, fetch="logits:0", **fields):
    values = {
        "rule": "BN102",
        "severity": "error",
        "certain": True,
        "variable": names(layer)[0],
        "layer": layer,
        "op": "net/update",
        "path": PATH,
        "fetch": fetch,
        "problem": "is read by Mul and written by AssignSub",
        "remedy": "Use `tf.cond`, and no other",
        "location": AT,
    }
    return Finding(**{**values, **fields})


def report(findings=(), steps=(), layers=LAYERS, source="train.py", limits=()):
    timeline = Timeline(layers, tuple(steps))
    return Report(source, 7, (), Assumptions(), tuple(findings), limits, timeline)


STEPS = [
    step("trains", [writes(layer, uses_batch_moments=True) for layer in LAYERS], "train_op", 412),
    step(
        "infers",
        [
            reads(LAYERS[0]),
            use(LAYERS[1], **dict.fromkeys(("read", "written", "unordered"), names(LAYERS[1]))),
            use(LAYERS[2], uses_batch_moments=True),
        ],
    ),
    step("infers", [LayerUse(), writes(LAYERS[1], certain=False), LayerUse()], "other:0"),
]
REPORT = report([finding(LAYERS[1])], STEPS)


class TestContents:
    def test_a_cell_has_the_letters_and_classes_of_what_the_step_does(self):
        assert cells(read_page(page([(REPORT, [])]))) == {
            "block1/conv1/BatchNorm": [
                ("WB", {"written", "batch"}),
                ("R", {"read"}),
                ("", set()),
            ],
            "block1/conv2/BatchNorm": [
                ("WB", {"written", "batch"}),
                ("U!", {"unordered", "defect"}),
                ("W?", {"written"}),
            ],
            "head/BatchNorm": [("WB", {"written", "batch"}), ("B", {"batch"}), ("", set())],
        }

    def test_a_step_has_its_number_runs_kind_and_line(self):
        document = read_page(page([(REPORT, [])]))
        head = document.all("thead")[0].all("th")
        assert head[0].text == "layer in net/"
        assert head[1].text.split() == ["412", "x", "trains", "train.py:88", "1"]
        items = [item.text for item in document.all("ol", "steps")[0].all("li")]
        assert items[0] == (
            "412 \u00d7 logits, is_training=False at train.py:88: trains; writes 2 statistics"
        )
        assert len(items) == 3

    def test_a_cell_that_is_not_white_has_details_and_can_have_the_focus(self):
        document = read_page(page([(REPORT, [])]))
        found = document.all("td")
        for cell in found:
            assert bool(cell.own_text()) is ("tabindex" in cell.attributes)
            assert bool(cell.own_text()) is bool(cell.all("div", "detail"))
        (detail,) = found[4].all("div", "detail")
        for text in (
            f"{LAYERS[1]} reads in no order with a write, and writes moving_mean, moving_variance",
            "in step 2, logits, is_training=False",
            "see BN102 below",
            "built at models/net.py:42 in block: h = batch_norm(h)",
            "logits Identity",
            "\u2190 net/update AssignSub",
        ):
            assert text in detail.text
        assert "may write moving_mean" in found[5].all("div", "detail")[0].text

    def test_a_long_path_says_how_many_ops_are_left_out(self):
        long = step("infers", [LayerUse(read=names(LAYERS[0]), path=PATH, left_out=31)])
        (detail,) = read_page(page([(report(steps=[long], layers=LAYERS[:1]), [])])).all(
            "div", "detail"
        )
        assert "logits Identity\u2190 ... 31 more ops ...\u2190 net/update" in detail.text

    def test_a_finding_has_its_subjects_path_lines_and_remedy(self):
        found = [finding(f"layer_{number}") for number in range(6)]
        (article,) = read_page(page([(report(found), [])])).all("article")
        assert article.all("h4")[0].text == "BN102 unordered-statistics-read error"
        assert "6 running statistics are read by Mul and written by AssignSub" in article.text
        shown, unfolded = article.all("ul")
        assert [item.text for item in shown.all("li")] == [
            f"layer_{number}: moving_mean" for number in range(4)
        ]
        assert len(unfolded.all("li")) == 2
        assert article.text.count("built at models/net.py:42") == 1
        assert [item.text for item in article.all("ol")[0].all("li")] == [
            "logits Identity",
            "net/update AssignSub",
        ]
        (remedy,) = article.all("p", "remedy")
        assert remedy.text == "To do: Use tf.cond, and no other."
        assert remedy.all("code")[0].text == "tf.cond"

    def test_a_finding_about_all_training_steps_marks_each_of_them(self):
        trains = [step("trains", map(writes, LAYERS), fetch) for fetch in ("first", "second")]
        found = finding(LAYERS[0], "first, second", rule="BN201")
        table = cells(read_page(page([(report([found], [*trains, STEPS[1]]), [])])))
        assert [letters for letters, _ in table["block1/conv1/BatchNorm"]] == ["W!", "W!", "R"]
        assert [letters for letters, _ in table["block1/conv2/BatchNorm"]] == ["W", "W", "U"]

    def test_steps_that_run_updates_alone_are_among_the_training_steps(self):
        """The rules have them after the steps that train, whatever ran first."""
        steps = [step("updates", map(writes, LAYERS), "u"), step("trains", map(reads, LAYERS), "t")]
        table = cells(read_page(page([(report([finding(LAYERS[0], "t, u")], steps), [])])))
        assert [letters for letters, _ in table["block1/conv1/BatchNorm"]] == ["W!", "R!"]

    def test_a_note_marks_no_cell(self):
        noted = report([finding(LAYERS[1], severity="note")], STEPS)
        assert "!" not in "".join(letters for letters, _ in _flat(page([(noted, [])])))

    def test_what_is_left_out_of_a_large_table_is_counted(self):
        many = report(steps=[step("infers", map(reads, LAYERS))] * 63)
        document = read_page(page([(many, [])]))
        assert "3 more steps not shown" in document.text
        assert len(document.all("thead")[0].all("th")) == 61

    def test_all_reports_are_on_one_page(self):
        text = format_reports([REPORT, report(source="clean.pb", layers=())], "html")
        document = read_page(text)
        assert [heading.text for heading in document.all("h2")] == ["train.py", "clean.pb"]
        assert "nothing assumed" in document.text
        assert "Nothing found." in document.text
        assert document.all("title")[0].text == "bnguard: train.py, clean.pb"


class TestEscaping:
    def test_no_text_of_a_graph_or_program_is_markup(self):
        """Every text of the report is hostile, and each is shown as it is."""
        at = Location(HOSTILE, 1, HOSTILE, HOSTILE)
        path = (Op(HOSTILE, HOSTILE), Op("end", "Identity"))
        hostile = LayerUse((HOSTILE,), (HOSTILE,), (), True, False, path, 0, at)
        steps = [TimelineStep(HOSTILE, HOSTILE, "infers", 1, at, HOSTILE, (hostile,) * 2)]
        found = [
            finding(
                layer,
                variable=layer,
                fetch=HOSTILE,
                path=path,
                problem=f"is {HOSTILE}",
                remedy=f"{HOSTILE} `{HOSTILE}`",
                location=at,
                op=HOSTILE,
            )
            for layer in (HOSTILE, f"second{HOSTILE}")
        ]
        whole = report(found, steps, (HOSTILE, f"second{HOSTILE}"), HOSTILE, (HOSTILE,))
        text = page([(whole, [HOSTILE])], [HOSTILE])
        assert text.encode("ascii")
        document = read_page(text)
        benign = read_page(page([(report(), [])]))
        tags = {element.tag for element in document.every()}
        assert not tags & {"script", "img"}
        assert document.all("style")[0].text == benign.all("style")[0].text
        for element in document.every():
            assert not [name for name in element.attributes if name.startswith("on")]
        for tag in ("title", "h2", "th", "td", "article", "p", "li"):
            assert any(SHOWN in element.text for element in document.all(tag)), tag

    def test_the_page_loads_nothing_and_forbids_what_it_does_not_need(self):
        document = read_page(page([(REPORT, [])]))
        for element in document.every():
            assert not {"src", "background", "action"} & set(element.attributes)
            assert element.attributes.get("href", "#").startswith("#")
        assert "url(" not in document.all("style")[0].text
        assert "@import" not in document.all("style")[0].text
        (policy,) = (meta for meta in document.all("meta") if "http-equiv" in meta.attributes)
        assert policy.attributes["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def _flat(text):
    return [cell for row in cells(read_page(text)).values() for cell in row]


# What a browser makes of a page: the colors of cells, and every text that is cut off.
MEASURE = """
(page, window) => {
  const style = (element) => window.getComputedStyle(element);
  const details = [...page.querySelectorAll("td .detail")];
  const hidden = details.every((detail) => style(detail).display === "none");
  const cut = [];
  const walker = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode, parent = text.parentElement;
    if (!text.data.trim() || parent.closest(".detail, .skip, details:not([open]) > :not(summary)"))
      continue;
    const range = page.createRange();
    range.selectNodeContents(text);
    const box = range.getBoundingClientRect();
    const cell = parent.closest("th, td");
    const frame = cell ? cell.getBoundingClientRect()
                       : {left: 0, right: page.documentElement.clientWidth};
    if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.width === 0)
      cut.push(text.data);
  }
  const cell = page.querySelector("td[tabindex]");
  cell.focus();
  const detail = cell.querySelector(".detail"), box = detail.getBoundingClientRect();
  return {
    colors: [...page.querySelectorAll("td")].map((cell) => style(cell).backgroundColor),
    images: [...page.querySelectorAll("td")].map((cell) => style(cell).backgroundImage !== "none"),
    ground: style(page.body).backgroundColor,
    cut: cut,
    hidden: hidden,
    focus: style(detail).display,
    inside: box.left >= 0 && box.right <= window.innerWidth && box.bottom <= window.innerHeight,
    reachable: detail.scrollHeight <= detail.clientHeight || style(detail).overflowY === "auto",
    wide: page.documentElement.scrollWidth > page.documentElement.clientWidth,
  };
}
"""
BLUE, AMBER, RED, VIOLET = (
    "rgb(207, 227, 245)",
    "rgb(245, 184, 61)",
    "rgb(179, 38, 30)",
    "rgb(185, 163, 227)",
)
NONE = "rgba(0, 0, 0, 0)"


def long_names(layers, steps):
    """A report with as many layers and steps as large programs have, and with long names."""
    scopes = tuple(
        f"resnet_v2_200/block{number // 80}/unit_{number}/bottleneck_v2_{'x' * 40}/BatchNorm"
        for number in range(layers)
    )
    columns = [
        step("infers", map(reads, scopes), runs=10**6, label=f"tower_{number}/{'y' * 60}:0")
        for number in range(steps)
    ]
    return report([finding(scopes[0])], columns, scopes, f"a/{'z' * 90}/train.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A small and a large page in a wide and a narrow window.

    The default run has 40 layers in the large one; BNGUARD_CASES=all has 300.
    """
    texts = [
        page([(REPORT, ["assumed nothing"])]),
        page([(long_names(300 if EVERY else 40, 40), [])]),
    ]
    pages = [(text, width) for text in texts for width in (1280, 390)]
    results, console = measured(tmp_path_factory.mktemp("light"), pages, MEASURE)
    assert console == []
    return results


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")
class TestInABrowser:
    def test_the_colors_are_those_of_the_key(self, found):
        for result in found[:2]:
            assert result["colors"] == [
                *(AMBER, BLUE, NONE),
                *(AMBER, RED, AMBER),
                *(AMBER, VIOLET, NONE),
            ]
            assert result["images"] == [True, *[False] * 2] * 3
            assert result["ground"] == "rgb(255, 255, 255)"

    def test_no_text_is_cut_off_and_the_page_is_not_wider_than_the_window(self, found):
        for result in found:
            assert result["cut"] == []
            assert not result["wide"]

    def test_details_are_shown_with_the_focus_and_fit(self, found):
        for result in found:
            assert result["hidden"]
            assert (result["focus"], result["inside"]) == ("block", True)
            assert result["reachable"]

    def test_dark_is_dark(self, tmp_path):
        pages = [(page([(REPORT, [])]), 1280)]
        (result,), console = measured(tmp_path, pages, MEASURE, dark=True)
        assert console == []
        assert result["ground"] == "rgb(22, 24, 28)"
        assert AMBER not in result["colors"]

    def test_what_a_page_may_not_do_is_on_the_console(self, tmp_path):
        """So that the tests above can fail."""
        scripted = page([(REPORT, [])]).replace("<h1>", "<script>alert(1)</script><h1>")
        cut = scripted.replace("</style>", ".timeline th span { width: 40rem; }</style>")
        (result,), console = measured(tmp_path, [(cut, 390)], MEASURE)
        assert "Content Security Policy" in console[0]
        assert result["cut"]
