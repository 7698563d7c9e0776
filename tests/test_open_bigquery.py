"""Failures of a dataset of BigQuery opened, by a file or by a key version of Cloud KMS; and what opens nothing."""


import pytest

from pipelines.__main__ import main
from tests.kms_server import VERSION, Service, serve
from tests.replaying import replay
from tests.test_replay_bigquery import OUT, as_new, given, made, service  # noqa: F401
from transforms import keys


def test_failures_are_opened_as_on_a_lake_by_a_file_or_by_cloud_kms(made, service, capsys) -> None:  # noqa: F811
    def told(*arguments: str) -> list[str]:
        assert main(["open", *arguments]) == 0
        return sorted(capsys.readouterr().out.splitlines())

    key, reach = f"--private_key={made['keys'] / keys.PRIVATE}", f"--bigquery_endpoint={service.url}"
    kms = Service((made["keys"] / keys.PRIVATE).read_bytes())
    server, address = serve(kms)
    try:
        theirs = told(str(made["old"]), key)
        assert told(OUT, key, reach) == theirs and len(theirs) > 60
        assert told(OUT, f"--private_key={VERSION}", f"--kms_endpoint={address}", reach) == theirs and 0 < kms.calls < len(theirs)
        assert told(str(made["old"]), f"--private_key={VERSION}", f"--kms_endpoint={address}") == theirs
        some = told(OUT, key, reach, "--reason=out_of_range")
        assert some == told(str(made["old"]), key, "--reason=out_of_range") and 0 < len(some) < len(theirs)
        assert told(OUT, key, reach, "--run=nobody") == []
        told_by_kms = replay(capsys, [*given(made, service, f"--kms_endpoint={address}", f"--private_key={VERSION}")[:2],
                                      *[a for a in given(made, service, f"--kms_endpoint={address}", f"--private_key={VERSION}")[2:] if not a.endswith(keys.PRIVATE)]])
        assert told_by_kms["read"] == len(theirs) and told_by_kms["not_opened"] == 0
        as_new(made, service)
    finally:
        server.stop(0)


@pytest.mark.parametrize(("arguments", "code", "words"), [
    ([OUT, "--reason=bored"], 2, "--reason"), (["bq://project.none"], 2, "is no dataset"), ([OUT, "--private_key=nowhere"], 2, "cannot be read")])
def test_what_cannot_be_opened(arguments, code, words, made, service, capsys) -> None:  # noqa: F811
    key = [] if any("private_key" in a for a in arguments) else [f"--private_key={made['keys'] / keys.PRIVATE}"]
    assert main(["open", *arguments, *key, f"--bigquery_endpoint={service.url}"]) == code
    assert words in capsys.readouterr().err


def test_another_key_opens_nothing(made, service, tmp_path, capsys) -> None:  # noqa: F811
    keys.make(tmp_path / "other")
    (tmp_path / "other" / keys.MASTER).unlink()  # a key that lies alone: with another master key beside it, nothing would be tried
    other = f"--private_key={tmp_path / 'other' / keys.PRIVATE}"
    assert main(["open", OUT, other, f"--bigquery_endpoint={service.url}"]) == 1
    seen = capsys.readouterr()
    assert seen.out == "" and "are sealed with another key" in seen.err
    arguments = [a for a in given(made, service, other) if not a.startswith("--private_key") or a == other]
    row = replay(capsys, arguments, 1)
    assert row["read"] == 0 and row["not_opened"] == service.ask("SELECT count(*) AS n FROM ds.failures")[0]["n"]
    assert service.ask("SELECT count(*) AS n FROM ds.replays") == [{"n": 0}]
