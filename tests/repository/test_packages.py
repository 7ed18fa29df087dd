"""Members of the workspace: manifests, versions, dependencies."""

import importlib.metadata
import re
import sys

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .conftest import ROOT, closure

MANIFEST = {"title": str, "kind": str, "category": str, "docs": str}
# Runs under an interpreter of its own, in an environment that has Spark.
OTHER_ENVIRONMENT = ("icetap/testing/spark_child.py",)
METHODS = {
    "tap": ("replication_methods", {"FULL_TABLE", "INCREMENTAL", "LOG_BASED"}),
    "target": ("load_methods", {"append-only", "upsert", "overwrite", "snapshot-diff", "history"}),
}


def manifest_findings(connector):
    """What is missing in a manifest, one sentence per finding."""
    manifest, name = connector.manifest, connector.folder.name
    for key, kind in MANIFEST.items():
        if not isinstance(manifest.get(key), kind) or not manifest[key]:
            yield f"{name}: [tool.icetap.connector] has no {key}"
    if manifest.get("kind") not in METHODS:
        yield f"{name}: kind is {manifest.get('kind')!r}, expected tap or target"
        return
    key, known = METHODS[manifest["kind"]]
    if not manifest.get(key) or not set(manifest[key]) <= known:
        yield f"{name}: {key} must name some of {sorted(known)}"
    for rule, reason in manifest.get("exemptions", {}).items():
        if len(str(reason).split()) < 4:
            yield f"{name}: the exemption from '{rule}' gives no reason"
    if set(connector.declared["project"]["scripts"]) != {name}:
        yield f"{name}: the command must be named as the folder"
    elif not connector.declared["project"]["scripts"][name].endswith(".program:main"):
        yield f"{name}: the command must be an `icetap.program.Program`, the `main` of program.py"
    if connector.name != f"icetap-{name}":
        yield f"{name}: the distribution must be named icetap-{name}"


def test_every_connector_has_a_whole_manifest(connectors):
    assert [finding for connector in connectors for finding in manifest_findings(connector)] == []


def test_taps_and_targets_are_found_in_their_folders(connectors):
    misplaced = [c.name for c in connectors if c.folder.parent.name != f"{c.manifest['kind']}s"]
    assert misplaced == []
    assert len(connectors) >= 2


def test_members_keep_no_tool_tables(packages):
    found = {package.name: sorted(set(package.declared.get("tool", {})) - {"icetap"}) for package in packages}
    assert {name: tables for name, tables in found.items() if tables} == {}


def test_all_packages_have_one_version_and_the_changelog_names_it(packages):
    versions = {package.declared["project"]["version"] for package in packages}
    assert len(versions) == 1
    assert f"## {versions.pop()}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_packages_agree_on_licence_and_pythons(packages):
    said = {(p.declared["project"]["license"], p.declared["project"]["requires-python"]) for p in packages}
    assert said == {("Apache-2.0", ">=3.11,<3.14")}


def declared_needs(package, library):
    """Names of the distributions that a package declares, through the extras of the library too."""
    project = package.declared["project"]
    extras = library.declared["project"]["optional-dependencies"]
    todo = [Requirement(need) for need in project["dependencies"]]
    if package.name == library.name:
        todo += [Requirement(need) for needs in extras.values() for need in needs]
    names = set()
    while todo:
        need = todo.pop()
        names.add(canonicalize_name(need.name))
        if need.name == library.name:
            todo += [Requirement(line) for line in library.declared["project"]["dependencies"]]
            todo += [
                Requirement(line) for extra in need.extras for line in extras[extra] if line != str(need)
            ]
    return names


def third_party(package, own):
    """What a package imports from outside: names of distributions that bring it, and the import."""
    owners = importlib.metadata.packages_distributions()
    for found in package.imports():
        if found.top in sys.stdlib_module_names or found.top in own or found.only_for_types:
            continue
        if found.file.as_posix().endswith(OTHER_ENVIRONMENT):
            continue
        yield {canonicalize_name(name) for name in owners.get(found.top, [found.top])}, found


def test_what_is_imported_is_declared(packages, library, root_project):
    """What tests alone need (engines to read tables with) is declared once, at the root."""
    own = {package.module.name for package in packages}
    for_tests = {
        canonicalize_name(Requirement(need).name) for need in root_project["dependency-groups"]["dev"]
    }
    missing = [
        f"{found.where} imports {' or '.join(sorted(names))}"
        for package in packages
        for names, found in third_party(package, own)
        if not names & declared_needs(package, library)
        if not ("icetap/testing/" in found.file.as_posix() and names & for_tests)
    ]
    assert missing == []


def test_what_is_declared_is_imported(packages, library):
    own = {package.module.name for package in packages}
    used = {name for package in packages for names, _ in third_party(package, own) for name in names}
    members = {canonicalize_name(package.name) for package in packages}
    declared = {name for package in packages for name in declared_needs(package, library)}
    assert sorted(declared - used - members) == []


def test_constraints_hold_nothing_but_versions():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    odd = [
        line
        for line in lines
        if not re.fullmatch(r"#.*|[a-z0-9.-]+(\[[a-z,-]+\])?==[\w.+]+( ; [^@]+)?", line)
    ]
    assert odd == []


def test_constraints_cover_everything_that_the_packages_lead_to(packages, root_project, constraints):
    members = {canonicalize_name(package.name) for package in packages}
    needs = [*root_project["dependency-groups"]["dev"]]
    for package in packages:
        extras = ",".join(package.declared["project"].get("optional-dependencies", {}))
        needs.append(f"{package.name}[{extras}]" if extras else package.name)
    installed = {name: version for name, version in closure(needs) if name not in members}
    differing = {
        name: (version, constraints.get(name))
        for name, version in installed.items()
        if constraints.get(name) != version
    }
    assert differing == {}, (
        "installed version, version in constraints.txt: run `make constraints` or `make setup`"
    )


def test_no_meltano_plugin_can_be_answered_by_a_public_registry(connectors):
    meltano = yaml.safe_load((ROOT / "meltano.yml").read_text(encoding="utf-8"))
    plugins = {plugin["name"]: plugin for kind in meltano["plugins"].values() for plugin in kind}
    for connector in connectors:
        pip_url = plugins[connector.folder.name]["pip_url"]
        path = connector.folder.relative_to(ROOT).as_posix()
        assert re.search(r"-e \$\{MELTANO_PROJECT_ROOT\}/shared(\[[a-z,-]+\])? ", pip_url)
        assert f"-e ${{MELTANO_PROJECT_ROOT}}/{path}" in pip_url
        assert not re.search(r"(?<![/-])\bicetap", pip_url)
