"""Settings: from the environment, a misspelt variable named, secrets never shown."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from config.settings import Settings, SettingsError, check_names


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANNER_BROKER_URL", "kafka://a:9092,b:9092")
    monkeypatch.setenv("PLANNER_PARTITIONS", "12")
    settings = Settings()
    assert settings.partitions == 12
    assert not settings.embedded


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANNER_PARTITIONS", "12")
    assert Settings(partitions=3).partitions == 3


def test_a_misspelt_variable_is_named_with_the_one_it_resembles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANNER_PARTITONS", "12")
    with pytest.raises(SettingsError, match=r"PLANNER_PARTITONS is no setting; did you mean PLANNER_PARTITIONS\?"):
        Settings()


def test_all_misspelt_variables_are_named() -> None:
    with pytest.raises(SettingsError, match=r"PLANNER_BROKER .*PLANNER_XYZZY"):
        check_names({"PLANNER_XYZZY": "1", "PLANNER_BROKER": "kafka://a", "PLANNER_HTTP_PORT": "1", "PATH": "/bin"})


@pytest.mark.parametrize(
    "url", ["", "planner.db", "sqlite://planner.db", "sqlite:///", "http://a:1", "kafka://", "kafka:a:9092"]
)
def test_a_broker_url_of_neither_form_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match=r"expected sqlite:///DIR/planner\.db or kafka://host:port"):
        Settings(broker_url=url)


def test_sasl_needs_its_credentials() -> None:
    with pytest.raises(ValidationError, match="SASL_SSL needs sasl_username and sasl_password"):
        Settings(security_protocol="SASL_SSL", sasl_username="planner")


def test_a_client_certificate_needs_its_key() -> None:
    with pytest.raises(ValidationError, match="given together"):
        Settings(ssl_cert_file="client.pem")


def test_a_request_may_take_as_long_as_a_session() -> None:
    with pytest.raises(ValidationError, match="request_timeout_s 5 is below session_timeout_s 15"):
        Settings(request_timeout_s=5)


def test_the_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANNER_SASL_PASSWORD", "hush")
    monkeypatch.setenv("PLANNER_SASL_USERNAME", "planner")
    settings = Settings(security_protocol="SASL_SSL")
    assert "hush" not in repr(settings)
    assert "hush" not in settings.model_dump_json()


def test_every_setting_says_what_it_means() -> None:
    silent = [name for name, field in Settings.model_fields.items() if not field.description]
    assert silent == []
