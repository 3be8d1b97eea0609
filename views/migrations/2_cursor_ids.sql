-- The event at a cursor's place: a broker may lose its newest events by a power cut, and put others in their places.
alter table view_cursors add column id text;
