import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsflow.model.secrecy import is_secret_name, secret_values, without_secret_values


@pytest.mark.parametrize("name", ["password", "db_passwd", "API_KEY", "auth-token".replace("-", "_"), "clientSecret"])
def test_names_of_secrets(name):
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["user", "port", "key", "monkey", "ssh_keys", "pass_through"])
def test_other_names(name):
    assert not is_secret_name(name)


def test_everything_below_a_secret_name_is_secret():
    data = {
        "db": {"password": "one", "port": 5432, "tokens": [{"a": "two"}, 3, None, True]},
        "hosts": ["x", {"secret": "four"}],
    }
    assert list(secret_values(data)) == ["one", "two", "3", "four"]
    assert without_secret_values(data, "*") == {
        "db": {"password": "*", "port": 5432, "tokens": [{"a": "*"}, "*", None, True]},
        "hosts": ["x", {"secret": "*"}],
    }


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["user", "password", "tokens", "port"]), inner),
)


@given(plain)
def test_what_is_masked_has_no_secrets_left(data):
    assert set(secret_values(without_secret_values(data, "MASK"))) <= {"MASK"}
