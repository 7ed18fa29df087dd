"""Personal columns are found, ordinary ones are left alone, and no value is told."""

from icetap.records.personal import find_personal

from .personal_sample import ORDINARY, PERSONAL

MIN_PRECISION, MIN_RECALL = 0.95, 0.9


def found(column):
    return find_personal(column.name, type_name=column.type_name, stream=column.stream, values=column.values)


def test_precision_and_recall_on_the_labelled_sample(capsys):
    labelled = [*PERSONAL, *ORDINARY]
    findings = [(column, found(column)) for column in labelled]
    hits = [column for column, finding in findings if finding and column.kind]
    false_alarms = [
        f"{column}: {finding.kind}" for column, finding in findings if finding and not column.kind
    ]
    missed = [f"{column}: {column.kind}" for column, finding in findings if column.kind and not finding]
    precision = len(hits) / (len(hits) + len(false_alarms))
    recall = len(hits) / len(PERSONAL)
    right_kind = sum(finding.kind is column.kind for column, finding in findings if finding and column.kind)
    with capsys.disabled():
        print(
            f"\npersonal columns: precision {precision:.3f}, recall {recall:.3f} on {len(PERSONAL)} personal and "
            f"{len(ORDINARY)} ordinary columns; the kind is right for {right_kind} of {len(hits)}; "
            f"false alarms: {false_alarms}; missed: {missed}"
        )

    assert precision >= MIN_PRECISION, false_alarms
    assert recall >= MIN_RECALL, missed
    assert right_kind >= 0.95 * len(hits)


def test_no_finding_tells_a_value():
    for column in PERSONAL:
        finding = found(column)
        told = f"{finding}"
        assert not [value for value in column.values if value and len(str(value)) > 4 and str(value) in told]
