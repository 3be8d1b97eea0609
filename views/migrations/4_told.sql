-- Whom a delivery tells of which moment of a placed call: his place among those to be told. Empty for destinations.
alter table deliveries add column moment text;
alter table deliveries add column listener bigint;
