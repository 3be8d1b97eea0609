-- One set for SQLite and PostgreSQL: SQLite takes PostgreSQL's names of types, and keeps times as text that sorts.
-- Amounts are whole millionths of their currency. Nothing here is written by hand: it is made of the log, and can be
-- made again (callbus rebuild views).

-- How far each stream of the log has been taken. It changes in the transaction that writes the rows.
create table view_cursors (
    stream text primary key,
    seq bigint not null
);
insert into view_cursors (stream, seq) values ('CALLS', 0), ('WALLETS', 0);

-- One row for each call, from its first callback on.
create table calls (
    app text not null,
    call text not null,
    first_seq bigint not null,
    started_at timestamptz not null,
    caller text,
    callee text,
    answered_at timestamptz,
    ended_at timestamptz,
    result text,
    end_reason text,
    duration_secs bigint,
    outcome text,
    rule text,
    reason text,
    wallet text,
    decided_at timestamptz,
    cdr text,
    settled_at timestamptz,
    unmatched boolean not null,
    primary key (app, call)
);
create index calls_first_seq on calls (first_seq);
create index calls_call on calls (call);
create index calls_app on calls (app, first_seq);
create index calls_caller on calls (caller, first_seq);
create index calls_callee on calls (callee, first_seq);
create index calls_wallet on calls (wallet, first_seq);
create index calls_outcome on calls (outcome, first_seq);
create index calls_started on calls (started_at);

-- One row for each answer that was sent.
create table decisions (
    id text primary key,
    seq bigint not null,
    decided_at timestamptz not null,
    app text not null,
    call text not null,
    leg text not null,
    kind text not null,
    callback text not null,
    outcome text not null,
    reason text,
    rule text,
    policy text,
    wallet text,
    reserve boolean not null,
    held_micros bigint,
    currency text,
    granted_secs bigint,
    deck text,
    deck_version text,
    prefix text,
    price jsonb,
    decided_by text not null,
    took_micros bigint not null
);
create index decisions_call on decisions (app, call);
create index decisions_leg on decisions (leg);
create index decisions_time on decisions (decided_at);
create index decisions_outcome on decisions (outcome, decided_at);
create index decisions_wallet on decisions (wallet, decided_at);

-- The legs of each call's CDR; a call without a leg that was paid for has one row all the same.
create table cdr_legs (
    cdr text not null,
    leg_number bigint not null,
    seq bigint not null,
    settled_at timestamptz not null,
    app text not null,
    call text not null,
    caller text,
    callee text,
    started_at timestamptz,
    answered_at timestamptz,
    ended_at timestamptz not null,
    result text,
    end_reason text,
    duration_secs bigint not null,
    refused text,
    unmatched boolean not null,
    leg text,
    wallet text,
    currency text,
    deck text,
    deck_version text,
    prefix text,
    held_micros bigint,
    granted_secs bigint,
    billed_secs bigint,
    cost_micros bigint,
    overrun boolean not null,
    estimate boolean not null,
    supplier_cost_micros bigint,
    supplier_currency text,
    decision text,
    primary key (cdr, leg_number)
);
create index cdr_legs_call on cdr_legs (app, call);
create index cdr_legs_ended on cdr_legs (ended_at, seq, leg_number);
create index cdr_legs_app on cdr_legs (app, ended_at);
create index cdr_legs_wallet on cdr_legs (wallet, ended_at);

-- CDRs with the decision that let the call through, or refused it.
create view cdrs as
select c.*, d.kind, d.callback, d.rule, d.policy, d.price
from cdr_legs c
left join decisions d on d.id = c.decision;

-- Every posting of every wallet, with the balance it left.
create table wallet_entries (
    id text not null,
    entry_number bigint not null,
    seq bigint not null,
    posted_at timestamptz not null,
    wallet text not null,
    what text not null,
    amount_micros bigint not null,
    balance_micros bigint not null,
    held_micros bigint not null,
    currency text not null,
    call text,
    leg text,
    deck text,
    deck_version text,
    prefix text,
    price jsonb,
    duration_secs bigint,
    billed_secs bigint,
    posting text,
    grants jsonb,
    note text,
    posted_by text,
    primary key (id, entry_number)
);
create unique index wallet_entries_order on wallet_entries (wallet, seq, entry_number);
create index wallet_entries_time on wallet_entries (posted_at);
create index wallet_entries_call on wallet_entries (call);

-- Every posting with the callback that caused it.
create view wallet_ledger as
select e.*, d.app, d.kind, d.callback, d.rule, d.policy
from wallet_entries e
left join decisions d on d.id = (
    select g.id from decisions g
    where g.leg = e.leg and g.outcome = 'granted'
    order by g.held_micros desc, g.seq
    limit 1
);
