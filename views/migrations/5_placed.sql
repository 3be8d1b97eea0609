-- The call that we placed, of which this one is a leg. Calls from before are marked when the tables are made anew
-- (callbus rebuild views).
alter table calls add column placed text;
create index calls_placed on calls (first_seq) where placed is not null;
