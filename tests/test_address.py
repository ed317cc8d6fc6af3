import pytest

from fdbpl.system.address import require_no_password
from fdbpl.system.errors import UserError


@pytest.mark.parametrize(
    "url",
    [
        "sftp://me:hush@host/x",
        "simplecache::ftp://me:hush@host/x",
        "ftp://:hush@host",
        "http://me:hu@sh@host:5000/a@b",
    ],
)
def test_a_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UserError, match=r":\*\*\*@host.* without\. Use a key\.") as error:
        require_no_password(url, "Use a key.")
    assert "hu" not in str(error.value)
    assert "sh@" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["s3://bucket/a:b@c", "sftp://me@host/x", "http://host:5000", "memory://", "a:b@c"]
)
def test_any_other_url_passes(url: str) -> None:
    require_no_password(url, "Use a key.")
