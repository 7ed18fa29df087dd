"""Names, sizes and contents of files."""

import ast
import re

import pytest

from .conftest import ROOT

NO_SUBJECT = {"utils", "util", "helpers", "helper", "common", "misc"}
LOCK_FILES = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "package-lock.json", "yarn.lock"}
FUNCTION_LINES, FILE_LINES = 40, 500
TEST_FUNCTION_LINES, TEST_FILE_LINES = 60, 700
LONGER_WITH_A_REASON: dict[str, str] = {}

INDEX = re.compile(
    r"--(extra-)?index-url|tool\.uv\.index|https?://[^\s\"'`)]+/simple\b|files\.pythonhosted\.org",
    re.IGNORECASE,
)
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b|raise NotImplementedError|pragma: no cover")
OWN_PATH = re.compile(r"(?<![\w.${}])/(home|root|Users|work)/\w")


def is_test(path):
    return "tests" in path.relative_to(ROOT).parts


def python(texts):
    return {path: text for path, text in texts.items() if path.suffix == ".py"}


def test_modules_are_named_after_their_subject(files):
    assert [str(path.relative_to(ROOT)) for path in files if {path.stem, path.parent.name} & NO_SUBJECT] == []


def test_no_lock_file_is_kept(files):
    assert [str(path.relative_to(ROOT)) for path in files if path.name in LOCK_FILES] == []


def lines_matching(texts, pattern, *, but=()):
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line) and path.name not in but
    ]


def test_no_package_index_is_named(texts):
    assert lines_matching(texts, INDEX, but={"test_files.py"}) == []


def test_no_path_of_one_machine_is_named(texts):
    assert lines_matching(texts, OWN_PATH, but={"test_files.py"}) == []


def test_nothing_is_left_unfinished(texts):
    code = {path: text for path, text in python(texts).items() if not is_test(path)}
    assert lines_matching(code, UNFINISHED) == []


def test_no_test_is_expected_to_fail(texts):
    tests = {path: text for path, text in python(texts).items() if is_test(path)}
    assert lines_matching(tests, re.compile(r"mark\.xfail|pytest\.xfail"), but={"test_files.py"}) == []


def test_every_suppression_names_its_rule(texts):
    bare = re.compile(r"#\s*noqa(?!:)|#\s*type:\s*ignore(?!\[)")
    assert lines_matching(python(texts), bare, but={"test_files.py"}) == []


def length_findings(path, text):
    """Functions and files that are longer than the house allows; a docstring does not count."""
    name = str(path.relative_to(ROOT))
    function_limit, file_limit = (
        (TEST_FUNCTION_LINES, TEST_FILE_LINES) if is_test(path) else (FUNCTION_LINES, FILE_LINES)
    )
    if text.count("\n") > file_limit:
        yield name, f"{name} has {text.count(chr(10))} lines, {file_limit} are allowed"
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        lines = node.end_lineno - node.lineno + 1
        if ast.get_docstring(node):
            lines -= node.body[0].end_lineno - node.body[0].lineno + 1
        if lines > function_limit:
            yield (
                f"{name}::{node.name}",
                f"{name}:{node.lineno} {node.name} has {lines} lines, {function_limit} allowed",
            )


def test_functions_and_files_are_short(texts):
    found = [finding for path, text in python(texts).items() for finding in length_findings(path, text)]
    assert [sentence for key, sentence in found if key not in LONGER_WITH_A_REASON] == []
    assert set(LONGER_WITH_A_REASON) <= {key for key, _ in found}, "an exemption that is no longer needed"


def test_links_between_documents_lead_somewhere(texts):
    broken = []
    for path, text in texts.items():
        if path.suffix != ".md":
            continue
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            target = link.partition("#")[0]
            if (
                target
                and "://" not in link
                and not link.startswith("mailto:")
                and not (path.parent / target).exists()
            ):
                broken.append(f"{path.relative_to(ROOT)} -> {link}")
    assert broken == []


@pytest.mark.parametrize(
    "name", ["README.md", "CHANGELOG.md", "LICENSE", "constraints.txt", "meltano.yml", ".ci/run"]
)
def test_the_house_is_complete(name):
    assert (ROOT / name).stat().st_size > 0
