"""Secrets that stand in configuration files: by the names of settings, in whatever way the file's program has them."""

import pytest

from reconciler import data
from reconciler.document.literals import literals, looks_secret


def found(text: str) -> list[tuple[int, str, str]]:
    return [(one.line, one.name, text[one.start : one.end]) for one in literals(text)]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("    OIDCClientSecret s3cret", "OIDCClientSecret"),
        ('OIDCCryptoPassphrase "s3cret"', "OIDCCryptoPassphrase"),
        ("OIDCRedisCachePassword 's3cret'", "OIDCRedisCachePassword"),
        ("transport_url = rabbit://openstack:s3cret@10.0.0.1:5672//", "password"),
        ("connection=mysql+pymysql://nova:s3cret@{{ database_address }}/nova?charset=utf8", "password"),
        ("backend_url = redis://:s3cret@10.0.0.1:6379", "password"),
        ("memcache_secret_key = s3cret", "memcache_secret_key"),
        ("auth_encryption_key: s3cret", "auth_encryption_key"),
        ("\tauth_pass s3cret", "auth_pass"),
        ("requirepass s3cret\r", "requirepass"),
        ("masterauth s3cret", "masterauth"),
        ("wsrep_sst_auth = s3cret", "wsrep_sst_auth"),
        ("kek = s3cret  ", "kek"),
        ("admin-token = s3cret", "admin-token"),
        ("default_pass = s3cret", "default_pass"),
        ("- password: 's3cret'", "password"),
        ('secret "s3cret";', "secret"),
        ('{"user": "a", "client_secret": "s3cret", "x": 1}', "client_secret"),
        ("    'PASSWORD': 's3cret',", "PASSWORD"),
        ("SECRET_KEY = 's3cret'", "SECRET_KEY"),
    ],
)
def test_a_secret_is_told(line: str, name: str) -> None:
    text = f"[x]\n{line}\nlast = 1\n"
    assert found(text) == [(2, name, "s3cret")]


@pytest.mark.parametrize(
    "line",
    [
        "OIDCClientSecret {{ keystone_sso_client_secret }}",
        'OIDCCryptoPassphrase "exec:/usr/local/bin/passphrase"',
        "transport_url = rabbit://openstack:{{ rabbitmq_password }}@10.0.0.1//",
        "transport_url = rabbit://10.0.0.1:5672//",
        "# password = s3cret",
        ";connection = mysql://a:s3cret@b",
        "password = ",
        "password = <None>",
        "password = ${PASSWORD}",
        "ssl_private_key = /etc/ssl/private.pem",
        "enable_token: yes",
        "client_secret: |",
        "credentials=default",
        "WSGIPassAuthorization On",
        "OIDCPassUserInfoAs claims",
        "provider = fernet",
        "memcache_security_strategy = ENCRYPT",
        "password_hash_algorithm = bcrypt",
        "secret_file = s3cret",
        "Password of nobody in particular",
        "url = http://10.0.0.1:80/a@b",
        '{"secret": {"key": 1}}',
    ],
)
def test_what_says_no_secret_is_left_alone(line: str) -> None:
    assert found(f"[x]\n{line}\n") == []


def test_what_stands_within_another_is_one_and_they_come_in_order() -> None:
    text = 'api_password = http://a:b@c\nurl = amqp://a:b@c,amqp://d:e@f\n{"token": "q\\"x", "password": "zz"}\n'
    assert found(text) == [
        (1, "api_password", "http://a:b@c"),
        (2, "password", "b"),
        (2, "password", "e"),
        (3, "token", 'q\\"x'),
        (3, "password", "zz"),
    ]
    assert [one.json for one in literals(text)] == [False, False, False, True, True]


@pytest.mark.parametrize("part", ["a_pass", '"a": "', "x://a:", "password = ' ", " \t", "password "])
def test_an_absurd_line_costs_seconds_and_not_hours(part: str) -> None:
    assert len(found(part * 50_000)) <= 50_000


def test_words_are_joined_in_any_way() -> None:
    for name in ("db_password", "DBPassword", "db-password", "db.password", "password2", "S3SecretKey", "sshKey"):
        assert looks_secret(name), name
    for name in ("passwords", "password_file", "tokenizer", "key", "monkey", "SSLPassPhraseDialog", "kekule"):
        assert not looks_secret(name), name


def test_no_template_that_is_shipped_has_one() -> None:
    """So a copy of one in config/ is warned of for what somebody wrote into it alone."""
    texts = {path: text.decode() for path, text in data.services().items() if "/templates/" in path}
    told = {path: found(text) for path, text in texts.items()}
    assert len(texts) > 100 and {path: one for path, one in told.items() if one} == {}
