"""The SQL of unread counts against counting by hand, whatever the rows are."""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from backchannel.chat.counts.tables import thread_reads
from backchannel.chat.counts.unread import Place, mentions, thread_read_to, thread_unread, unread
from backchannel.chat.messages.tables import followers, hidden
from backchannel.chat.messages.tables import mentions as mention_rows
from backchannel.chat.tables import members, messages, metadata

USERS = ("ann", "bob", "cy")
NAMED = (*USERS, "*", "role:member", "role:guest")


class Row(NamedTuple):
    """A message."""

    user: str
    counted: bool
    deleted: bool
    shadow: bool
    silent: bool
    parent: int | None
    named: list[str]
    hidden_for: list[str]


class Case(NamedTuple):
    """A channel: its messages from `first` on, and each user's place in it."""

    first: int
    rows: list[Row]
    read: dict[str, tuple[int, int, int]]
    """read_seq, history_from, and what is read of threads."""


flag = st.booleans()
rows = st.builds(
    Row,
    st.sampled_from(USERS),
    flag,
    flag,
    flag,
    flag,
    st.sampled_from([None, 1, 2]),
    st.lists(st.sampled_from(NAMED), unique=True, max_size=3),
    st.lists(st.sampled_from(USERS), unique=True, max_size=2),
)
place = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
cases = st.builds(
    Case, st.integers(1, 4), st.lists(rows, max_size=12), st.fixed_dictionaries(dict.fromkeys(USERS, place))
)

engine = sa.create_engine("sqlite://")
metadata.create_all(engine)


def store(connection: sa.Connection, case: Case) -> dict[int, Row]:
    """Write a case in two channels and two tenants, which must not be mixed up; the messages by seq."""
    numbered = dict(enumerate(case.rows, case.first))
    tables: dict[sa.Table, list[dict[str, Any]]] = {}
    for app, channel in (("main", "chat:a"), ("main", "chat:b"), ("other", "chat:a")):
        here = {"app": app, "channel": channel}
        for seq, row in numbered.items():
            # A deleted message never counts.
            fields = {"counted": row.counted and not row.deleted, "deleted": 5 if row.deleted else None}
            kinds = {"shadow": row.shadow, "silent": row.silent, "parent": row.parent}
            said = {"id": f"{app}{channel}{seq}", "user": row.user, "text": "", "time": 1}
            tables.setdefault(messages, []).append({**here, **said, **fields, **kinds, "seq": seq})
            for user in row.named:
                tables.setdefault(mention_rows, []).append({**here, "user": user, "seq": seq})
            for user in row.hidden_for:
                tables.setdefault(hidden, []).append({**here, "user": user, "seq": seq})
        for user, (read, begin, in_thread) in case.read.items():
            mine = {**here, "user": user}
            newest = max(numbered, default=0)
            row_of = {**mine, "role": "member", "joined": 1, "read_seq": min(read, newest)}
            tables.setdefault(members, []).append({**row_of, "history_from": min(begin, newest)})
            tables.setdefault(followers, []).append({**mine, "seq": 1, "following": True})
            tables.setdefault(thread_reads, []).append({**mine, "seq": 1, "read_seq": in_thread})
    for table, values in tables.items():
        connection.execute(table.insert(), values)
    return numbered


@settings(max_examples=50, deadline=None)
@given(cases)
def test_counts_are_what_counting_by_hand_gives(case: Case) -> None:
    """Unread, mentions and unread answers of every member, by rows of members and for a place given by its values."""
    with engine.connect() as connection:
        numbered = store(connection, case)
        here = (members.c.app == "main", members.c.channel == "chat:a")
        found = connection.execute(sa.select(members, unread(members), mentions(members)).where(*here)).all()
        assert len(found) == len(USERS)
        for row in found:
            begin = max(row.read_seq, row.history_from)
            mine = {
                seq: one
                for seq, one in numbered.items()
                if one.user != row.user and row.user not in one.hidden_for and not one.deleted
            }
            by_hand = sum(seq > begin and one.counted for seq, one in mine.items())
            names = {row.user, "*", "role:member"}
            naming = sum(seq > begin and not one.shadow and bool(names & set(one.named)) for seq, one in mine.items())
            assert row[-2:] == (by_hand, naming)
            given_place = Place("main", "chat:a", row.user, "member", begin)
            assert connection.execute(sa.select(unread(given_place), mentions(given_place))).one() == (by_hand, naming)
            in_thread = case.read[row.user][2]
            answers = sum(
                one.parent == 1 and seq > in_thread and not one.shadow and not one.silent for seq, one in mine.items()
            )
            user = sa.literal(row.user, sa.Text)
            threads = sa.select(thread_unread(followers, user), thread_read_to(followers, user)).where(
                followers.c.app == "main", followers.c.channel == "chat:a", followers.c.user == row.user
            )
            assert connection.execute(threads).one() == (answers, in_thread)
        connection.rollback()


def test_no_part_of_the_count_reads_the_messages_in_between() -> None:
    """SQLite looks every part up in an index of its own, uncounted messages in the partial one."""
    with engine.connect() as connection:
        plan = "EXPLAIN QUERY PLAN " + str(
            sa.select(unread(members), mentions(members))
            .where(members.c.app == "a", members.c.user == "b")
            .compile(engine, compile_kwargs={"literal_binds": True})
        )
        steps = [row[3] for row in connection.exec_driver_sql(plan)]
    reading = [step for step in steps if step.startswith(("SCAN", "SEARCH"))]
    assert not [step for step in reading if step.startswith("SCAN")]
    assert any("uncounted_messages USING COVERING INDEX chat_messages_uncounted" in step for step in reading)
    assert any("own_messages USING COVERING INDEX chat_messages_user" in step for step in reading)
    assert any("last_messages USING COVERING INDEX" in step for step in reading)
