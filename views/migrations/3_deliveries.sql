insert into view_cursors (stream, seq) values ('DELIVERIES', 0);

-- One row for each delivery of an event to a destination, as it stands now.
create table deliveries (
    id text primary key,
    first_seq bigint not null,
    seq bigint not null,
    destination text not null,
    call text not null,
    app text,
    kind text,
    event_seq bigint,
    happened_at timestamptz,
    replay bigint,
    state text not null,
    attempts bigint not null,
    status bigint,
    cause text,
    next_at timestamptz,
    noted_at timestamptz not null
);
create index deliveries_first_seq on deliveries (first_seq);
create index deliveries_destination on deliveries (destination, state, first_seq);
create index deliveries_call on deliveries (call, first_seq);
