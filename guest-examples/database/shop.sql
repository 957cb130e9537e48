-- A shop for the examples: `sqlite3 shop.db < shop.sql` makes it anew.
create table stock (item text primary key, available integer not null check (available >= 0));
create table orders (
  id integer primary key,
  call_key text not null unique,
  item text not null,
  quantity integer not null
);
insert into stock values ('apple', 5), ('pear', 2);
