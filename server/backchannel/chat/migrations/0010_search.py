# ruff: noqa: S608  # what statements are made of stands in this file
"""Full-text indexes of messages and of names, kept by the database itself.

They are not in the app's metadata, since they are nothing that rows are declared in: triggers fill them. On both
databases a *doc* stands for a message; docs sort by the message's time, as `id` begins with it (milliseconds, times
2**20). On SQLite a doc's words are in an FTS5 table without content, on PostgreSQL in the doc itself. Beside its words
a message has *marks*, by which it is found as quickly: its channel, its author, what it has.

A table that Alembic's batch mode makes anew loses its triggers: a later revision that does so makes them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from alembic import op

revision = "chat_0010"
down_revision = "chat_0009"

_MARKS: Final = {
    "file": "{row}.files IS NOT NULL",
    "image": "coalesce({row}.files, '') LIKE '%\"image/%'",
    "link": "{row}.text LIKE '%://%' OR {row}.links IS NOT NULL",
    "poll": "{row}.type = 'poll'",
    "quote": "{row}.quote IS NOT NULL",
    "reply": "{row}.parent IS NOT NULL",
    "mention": "{row}.mentions IS NOT NULL",
}
"""What a message can have, and when it has it."""

_INDEXED: Final = ("text", "type", "files", "links", "quote", "parent", "mentions", "channel", "user", "seq", "time")


def upgrade() -> None:
    """Make the indexes, and put what there is into them."""
    if op.get_bind().dialect.name == "sqlite":
        _sqlite()
    else:
        _postgresql()


def _run(*statements: str) -> None:
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)


# SQLite

_TOKENS: Final = "tokenize = \"unicode61 remove_diacritics 2 categories 'L* N* M* Co'\""


def _sqlite_marks(row: str) -> str:
    """A message's marks, made of letters and digits alone, which the tokenizer leaves whole."""
    marks = [f"'c' || hex({row}.channel) || ' u' || hex({row}.user)"]
    marks += [f"CASE WHEN {when.format(row=row)} THEN ' h{mark}' ELSE '' END" for mark, when in _MARKS.items()]
    return " || ".join(marks)


def _sqlite_id(row: str) -> str:
    """A free id among those of the message's millisecond."""
    first, behind = f"({row}.time << 20)", f"(({row}.time + 1) << 20)"
    taken = f"SELECT max(id) + 1 FROM chat_message_docs WHERE id >= {first} AND id < {behind}"
    return f"coalesce(({taken}), {first})"


def _sqlite() -> None:
    old_id = (
        "SELECT id FROM chat_message_docs WHERE id >= (old.time << 20) AND id < ((old.time + 1) << 20) "
        "AND app = old.app AND channel = old.channel AND seq = old.seq"
    )
    forget = (
        "INSERT INTO chat_message_words (chat_message_words, rowid, text, marks) "
        f"VALUES ('delete', ({old_id}), old.text, {_sqlite_marks('old')}); "
        f"DELETE FROM chat_message_docs WHERE id = ({old_id}); "
    )
    learn = (
        "INSERT INTO chat_message_docs (id, app, channel, seq) "
        f"VALUES ({_sqlite_id('new')}, new.app, new.channel, new.seq); "
        "INSERT INTO chat_message_words (rowid, text, marks) "
        f"VALUES (last_insert_rowid(), new.text, {_sqlite_marks('new')}); "
    )
    changed = " OR ".join(f"old.{name} IS NOT new.{name}" for name in _INDEXED)
    _run(
        "CREATE TABLE chat_message_docs (id INTEGER PRIMARY KEY, app TEXT NOT NULL, channel TEXT NOT NULL, "
        "seq BIGINT NOT NULL)",
        f"CREATE VIRTUAL TABLE chat_message_words USING fts5(text, marks, content = '', {_TOKENS}, prefix = '2 3')",
        # By time, so that ids can be given in one go.
        "INSERT INTO chat_message_docs (id, app, channel, seq) "
        "SELECT (time << 20) + row_number() OVER (PARTITION BY time ORDER BY app, channel, seq) - 1, "
        "app, channel, seq FROM chat_messages ORDER BY time",
        "INSERT INTO chat_message_words (rowid, text, marks) "
        f"SELECT d.id, m.text, {_sqlite_marks('m')} FROM chat_message_docs AS d CROSS JOIN chat_messages AS m "
        "ON m.app = d.app AND m.channel = d.channel AND m.seq = d.seq ORDER BY d.id",
        f"CREATE TRIGGER chat_message_docs_insert AFTER INSERT ON chat_messages BEGIN {learn}END",
        f"CREATE TRIGGER chat_message_docs_delete AFTER DELETE ON chat_messages BEGIN {forget}END",
        f"CREATE TRIGGER chat_message_docs_update AFTER UPDATE ON chat_messages WHEN {changed} "
        f"BEGIN {forget}{learn}END",
    )
    _run(
        "CREATE TABLE chat_name_docs (id INTEGER PRIMARY KEY, app TEXT NOT NULL, kind TEXT NOT NULL, "
        "name TEXT NOT NULL, UNIQUE (app, kind, name))",
        f"CREATE VIRTUAL TABLE chat_name_words USING fts5(text, marks, content = '', {_TOKENS}, prefix = '1 2 3')",
    )
    for kind, table, key, columns in _NAMED:
        _sqlite_names(kind, table, key, columns)


def _sqlite_names(kind: str, table: str, key: str, columns: Sequence[str]) -> None:
    def text(row: str) -> str:
        return " || ' ' || ".join(f"{row}.{column}" for column in columns)

    old_id = f"SELECT id FROM chat_name_docs WHERE app = old.app AND kind = '{kind}' AND name = old.{key}"
    forget = (
        "INSERT INTO chat_name_words (chat_name_words, rowid, text, marks) "
        f"VALUES ('delete', ({old_id}), {text('old')}, '{kind}'); DELETE FROM chat_name_docs WHERE id = ({old_id}); "
    )
    learn = (
        f"INSERT INTO chat_name_docs (app, kind, name) VALUES (new.app, '{kind}', new.{key}); "
        f"INSERT INTO chat_name_words (rowid, text, marks) VALUES (last_insert_rowid(), {text('new')}, '{kind}'); "
    )
    changed = " OR ".join(f"old.{name} IS NOT new.{name}" for name in columns)
    _run(
        f"INSERT INTO chat_name_docs (app, kind, name) SELECT app, '{kind}', {key} FROM {table}",
        "INSERT INTO chat_name_words (rowid, text, marks) "
        f"SELECT d.id, {text('t')}, '{kind}' FROM chat_name_docs AS d CROSS JOIN {table} AS t "
        f"ON t.app = d.app AND t.{key} = d.name WHERE d.kind = '{kind}' ORDER BY d.id",
        f"CREATE TRIGGER chat_{kind}_names_insert AFTER INSERT ON {table} BEGIN {learn}END",
        f"CREATE TRIGGER chat_{kind}_names_delete AFTER DELETE ON {table} BEGIN {forget}END",
        f"CREATE TRIGGER chat_{kind}_names_update AFTER UPDATE ON {table} WHEN {changed} BEGIN {forget}{learn}END",
    )


# PostgreSQL


def _postgresql_words(row: str) -> str:
    """A message's words, and its marks: no word begins with `=`."""
    marks = [f"'=c' || {row}.channel", f"'=u' || {row}.\"user\""]
    marks += [f"CASE WHEN {when.format(row=row)} THEN '=h{mark}' END" for mark, when in _MARKS.items()]
    listed = ", ".join(marks)
    return f"chat_search_words({row}.text) || array_to_tsvector(array_remove(ARRAY[{listed}], NULL))"


def _postgresql() -> None:
    # A database without a locale of its own (`C`) knows letters of ASCII alone; ICU, where it is built in, knows all.
    icu = op.get_bind().exec_driver_sql("SELECT count(*) FROM pg_collation WHERE collname = 'und-x-icu'").scalar()
    collation = 'COLLATE "und-x-icu"' if icu else ""
    row_id = "(({row}.time << 20) + ({row}.seq & 1048575))"
    changed = " OR ".join(f'old."{name}" IS DISTINCT FROM new."{name}"' for name in _INDEXED)
    old_key = f"app = old.app AND id = {row_id.format(row='old')} AND channel = old.channel AND seq = old.seq"
    _run(
        # Words without accents and in lower case, with a blank for all that is no part of a word: PostgreSQL's parser
        # would take `one.two` for a host and `a/b` for a path. To `matching.fold`, this is the other side.
        "CREATE FUNCTION chat_search_words(said text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 100 "
        "AS $$ SELECT to_tsvector('simple', regexp_replace(lower(regexp_replace("
        f"normalize(said, NFKD), '[\\u0300-\\u036F]+', '', 'g') {collation}) {collation}, "
        "'[[:punct:][:space:][:cntrl:]$+<=>^`|~\\u2000-\\u2BFF\\uFE00-\\uFE0F\\U0001F000-\\U0001FBFF]+', ' ', 'g')) $$",
        "CREATE TABLE chat_message_docs (app TEXT NOT NULL, id BIGINT NOT NULL, channel TEXT NOT NULL, "
        "seq BIGINT NOT NULL, words TSVECTOR NOT NULL, PRIMARY KEY (app, id, channel, seq))",
        f"INSERT INTO chat_message_docs SELECT m.app, {row_id.format(row='m')}, m.channel, m.seq, "
        f"{_postgresql_words('m')} FROM chat_messages AS m",
        "CREATE INDEX chat_message_docs_words ON chat_message_docs USING gin (words)",
        # Planned each time for what is looked for: of the two good ways, by words and by time, each is a thousand times
        # slower where the other one is right, and a plan that is kept for all values takes one of them for good.
        "CREATE FUNCTION chat_find_messages(app text, query text, before_id bigint, before_channel text, "
        "before_seq bigint, since bigint, most bigint, channels text, scored boolean) "
        "RETURNS TABLE (id bigint, channel text, seq bigint, score float8) LANGUAGE plpgsql STABLE AS $$ BEGIN "
        "RETURN QUERY EXECUTE 'SELECT d.id, d.channel, d.seq, ' || CASE WHEN scored "
        "THEN 'ts_rank(d.words, $2::tsquery)::float8' ELSE '0::float8' END || "
        "' FROM chat_message_docs AS d WHERE d.app = $1 AND d.words @@ $2::tsquery "
        "AND (d.id, d.channel, d.seq) < ($3, $4, $5) AND d.id >= $6' || CASE WHEN channels = '' THEN '' "
        # The table's statistics know how much is said in a channel, but nothing of marks that are rare.
        "ELSE ' AND d.channel = ANY(string_to_array($8, '','')::text[])' END || "
        "' ORDER BY d.id DESC, d.channel DESC, d.seq DESC LIMIT $7' "
        "USING app, query, before_id, before_channel, before_seq, since, most, channels; END $$",
        # Set-wise: one statement for all that a batch of sends inserts.
        "CREATE FUNCTION chat_message_docs_insert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"INSERT INTO chat_message_docs SELECT m.app, {row_id.format(row='m')}, m.channel, m.seq, "
        f"{_postgresql_words('m')} FROM added AS m; RETURN NULL; END $$",
        "CREATE TRIGGER chat_message_docs_insert AFTER INSERT ON chat_messages "
        "REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION chat_message_docs_insert()",
        "CREATE FUNCTION chat_message_docs_delete() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"DELETE FROM chat_message_docs WHERE {old_key}; RETURN NULL; END $$",
        "CREATE TRIGGER chat_message_docs_delete AFTER DELETE ON chat_messages "
        "FOR EACH ROW EXECUTE FUNCTION chat_message_docs_delete()",
        "CREATE FUNCTION chat_message_docs_update() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"UPDATE chat_message_docs SET id = {row_id.format(row='new')}, channel = new.channel, seq = new.seq, "
        f"words = {_postgresql_words('new')} WHERE {old_key}; RETURN NULL; END $$",
        "CREATE TRIGGER chat_message_docs_update AFTER UPDATE ON chat_messages "
        f"FOR EACH ROW WHEN ({changed}) EXECUTE FUNCTION chat_message_docs_update()",
    )
    _run(
        "CREATE TABLE chat_name_docs (app TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, "
        "words TSVECTOR NOT NULL, PRIMARY KEY (app, kind, name))",
        "CREATE INDEX chat_name_docs_words ON chat_name_docs USING gin (words)",
    )
    for kind, table, key, columns in _NAMED:
        _postgresql_names(kind, table, key, columns)


def _postgresql_names(kind: str, table: str, key: str, columns: Sequence[str]) -> None:
    def words(row: str) -> str:
        return f"chat_search_words({' || chr(32) || '.join(f'{row}.{_quoted(column)}' for column in columns)})"

    changed = " OR ".join(f"old.{_quoted(name)} IS DISTINCT FROM new.{_quoted(name)}" for name in columns)
    key = _quoted(key)
    function = f"chat_{kind}_names"
    old_key = f"app = old.app AND kind = '{kind}' AND name = old.{key}"
    _run(
        f"INSERT INTO chat_name_docs SELECT t.app, '{kind}', t.{key}, {words('t')} FROM {table} AS t",
        f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF TG_OP <> 'INSERT' THEN DELETE FROM chat_name_docs WHERE {old_key}; END IF; "
        f"IF TG_OP <> 'DELETE' THEN INSERT INTO chat_name_docs VALUES (new.app, '{kind}', new.{key}, {words('new')}); "
        "END IF; RETURN NULL; END $$",
        f"CREATE TRIGGER {function}_rows AFTER INSERT OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()",
        f"CREATE TRIGGER {function}_update AFTER UPDATE ON {table} "
        f"FOR EACH ROW WHEN ({changed}) EXECUTE FUNCTION {function}()",
    )


def _quoted(name: str) -> str:
    return f'"{name}"'


_NAMED: Final = (
    ("channel", "chat_channels", "channel", ("name", "topic")),
    ("user", "chat_profiles", "user", ("name", "user")),
)
"""What is found by name: kind, table, column of its key, columns of its words."""
