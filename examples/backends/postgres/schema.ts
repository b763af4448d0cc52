// What must be atomic is in the database, as functions: a call is one statement, so one round trip, in a transaction of
// its own, and no client can hold others up by dying, or by standing still, halfway. Keys are bytes, because no UTF-8
// has the byte ff: what is under a prefix lies between the prefix and the prefix followed by ff.

const tables = `
  create table meta (revision bigint not null); insert into meta values (0);
  create table leases (id text primary key, ttl_ms int not null, expires_at timestamptz not null);
  create index on leases (expires_at);
  create table entries (
    key bytea primary key, value bytea not null, created bigint not null, modified bigint not null, lease text);
  create index on entries (lease) where lease is not null;
  -- What each of the latest revisions changed, and every revision changes something. A key without a value is gone.
  create table changes (revision bigint, key bytea, value bytea, created bigint, lease text, primary key (revision, key));
`;

const reads = `
  create function bytes(text) returns bytea language sql immutable as $$ select convert_to($1, 'UTF8') $$;
  create function is_any_over() returns boolean language sql volatile as $$
    select exists (select from leases where expires_at <= clock_timestamp()) $$;
  create function under(prefix text) returns setof entries language sql stable as $$
    select * from entries where key >= bytes(prefix) and key < bytes(prefix) || decode('ff', 'hex') $$;
  create function entry(key bytea, value bytea, created bigint, modified bigint, lease text) returns json
    language sql stable as $$ select json_build_object('key', convert_from(key, 'UTF8'),
      'value', encode(value, 'base64'), 'created', created, 'modified', modified, 'lease', lease) $$;

  -- A revision in a condition may be any whole number, hence numeric.
  create function holds(conditions jsonb) returns boolean language sql stable as $$ select coalesce(bool_and(case
    when c ? 'prefix' then not exists (
      select from under(c->>'prefix') where modified > coalesce((c->>'noneModifiedAfter')::numeric, 0))
    when c ? 'exists' then (c->>'exists')::boolean = exists (select from entries where key = bytes(c->>'key'))
    else exists (select from entries where key = bytes(c->>'key') and coalesce(c->>'created', c->>'modified')::numeric
      = case when c ? 'created' then created else modified end)
  end), true) from jsonb_array_elements(conditions) c $$;

  -- Gives one entry more than the limit, by which to tell that there are more.
  create function list(o jsonb) returns json language sql stable as $$
    select coalesce(json_agg(
      entry(key, case when o->>'keysOnly' = 'true' then '' else value end, created, modified, lease)), '[]')
    from (select * from under(o->>'list')
      where key > coalesce(bytes(o->>'startAfter'), '') and coalesce(created < (o->>'createdBefore')::numeric, true)
      order by case o->>'order' when 'oldest' then created when 'newest' then -created end, key
      limit (o->>'limit')::bigint + 1) listed $$;

  create function result(o jsonb, written bigint) returns json language sql stable as $$ select case
    when o ? 'get' then (select entry(key, value, created, modified, lease) from entries where key = bytes(o->>'get'))
    when o ? 'list' then list(o)
    when o ? 'delete' then to_json(exists (select from changes where revision = written and key = bytes(o->>'delete')))
  end $$;

  create function answer(txn jsonb, succeeded boolean, written bigint default null) returns json
    language sql stable as $$ select json_build_object('succeeded', succeeded, 'revision', revision, 'results', (
      select coalesce(json_agg(result(o, written) order by place), '[]') from jsonb_array_elements(
        case when succeeded then txn->'then' else txn->'else' end) with ordinality as operations(o, place))) from meta $$;
`;

const turn = `
  -- Waits for its turn, which lasts until its transaction is committed: that puts revisions in the order of commits.
  -- Then ends the leases whose time is over, and the one to be revoked, if any.
  create function turn(revoked text default null) returns void language plpgsql as $$ begin
    perform pg_advisory_xact_lock('pg_class'::regclass::int, 'meta'::regclass::int);
    with ended as (delete from leases where expires_at <= clock_timestamp() or id = revoked returning id),
      gone as (delete from entries where lease in (select id from ended) returning key)
    insert into changes select meta.revision + 1, gone.key from gone, meta;
    perform publish();
  end $$;

  -- Makes a revision of the changes that were noted for the next one, if any were, and wakes whoever watches.
  create function publish() returns void language plpgsql as $$ declare latest bigint; begin
    update meta set revision = revision + 1
      where exists (select from changes where changes.revision = meta.revision + 1) returning revision into latest;
    if latest is null then return; end if;
    perform pg_notify(current_schema(), '');
    if latest % 100 = 0 then delete from changes where revision <= latest - 1000; end if;
  end $$;
`;

// #region transact
const transact = `
  -- Decides and applies a transaction; gives null, and changes nothing, where the lease to be attached is gone.
  create function transact(txn jsonb, writes boolean) returns json language plpgsql as $$
  declare succeeded boolean; next bigint; begin
    -- What only reads is one expression, so of one moment. It needs no turn, unless it would show keys that are over.
    if not writes and not is_any_over() then return answer(txn, holds(txn->'if')); end if;
    perform turn();
    succeeded := holds(txn->'if');
    if not writes or not succeeded then return answer(txn, succeeded); end if;
    if exists (select from jsonb_array_elements(txn->'then') o
      where o ? 'lease' and not exists (select from leases where id = o->>'lease')) then return null; end if;
    next := (select revision + 1 from meta);
    with gone as (delete from entries
      where key in (select bytes(o->>'delete') from jsonb_array_elements(txn->'then') o) returning key)
    insert into changes select next, key from gone;
    with placed as (insert into entries
      select bytes(o->>'put'), decode(o->>'value', 'base64'), next, next, o->>'lease'
        from jsonb_array_elements(txn->'then') o where o ? 'put'
      on conflict (key) do update set value = excluded.value, modified = excluded.modified, lease = excluded.lease
      returning *)
    insert into changes select next, key, value, created, lease from placed;
    perform publish();
    return answer(txn, true, next);
  end $$;
`;
// #endregion

const news = `
  -- What changed after a revision. A gap, if that is forgotten; or if this store was never there, since it was restored.
  create function news(since bigint) returns json language plpgsql as $$ begin
    if is_any_over() then perform turn(); end if;
    return (select json_build_object('revision', revision,
      'gap', since <> revision and not exists (select from changes where changes.revision = since + 1),
      'batches', (select coalesce(json_agg(batch), '[]') from (
        select revision, json_agg(json_build_object('key', convert_from(key, 'UTF8'),
          'entry', case when value is not null then entry(key, value, created, revision, lease) end) order by key) changes
        from changes where revision > since group by revision order by revision) batch)) from meta);
  end $$;
`;

/** Makes a schema with all that is in it, unless it is there. Of several at once one does, and the others' attempts fail. */
export const setUp = (schema: string): string => `do $setup$ begin
  if current_setting('server_version_num')::int < 130000 then
    raise feature_not_supported using message = 'PostgreSQL 13 is the oldest that works'; end if;
  if to_regclass('${schema}.meta') is not null then return; end if;
  create schema if not exists ${schema}; ${tables} ${reads} ${turn} ${transact} ${news}
end $setup$`;
