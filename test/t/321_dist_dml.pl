# INSERT, UPDATE, DELETE and TRUNCATE of a distributed table do what they do
# to a local one, in whatever transaction they stand; and what is not supported
# is refused with 0A000 before anything happened.
#
# Each statement runs on "items" and on "ref", a local partitioned table with
# the same rows; afterwards both must have the same rows.

use strict;
use warnings;
use lib 'test/perl';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $cluster     = make_cluster(workers => 2);
my $coordinator = $cluster->coordinator;

sub sql
{
	my ($statements) = @_;
	return $coordinator->safe_psql('postgres', $statements);
}

# Run statements to their end, whatever fails.  Returns the SQLSTATEs.
sub run
{
	my ($statements) = @_;
	my ($rc, $stdout, $stderr) =
	  $coordinator->psql('postgres', $statements,
		on_error_stop => 0,
		extra_params  => [ '-v', 'VERBOSITY=sqlstate' ]);
	return join ' ', $stderr =~ /ERROR:\s+(\w{5})/g;
}

sub contents
{
	my ($table) = @_;
	return sql("SELECT * FROM $table ORDER BY id, val, t");
}

# Run statements on both tables, in the place of TABLE.
sub both
{
	my ($statements, $name) = @_;
	my %states;

	foreach my $table ('items', 'ref')
	{
		(my $text = $statements) =~ s/\bTABLE\b/$table/g;
		$states{$table} = run($text);
	}
	is($states{items}, $states{ref}, "$name: the same errors");
	is(contents('items'), contents('ref'), "$name: the same rows");
	return;
}

# Statements on "items" that are refused.
sub refused
{
	my ($statement, $name) = @_;
	my $before = contents('items');

	is(run($statement), '0A000', "refused: $name");
	is(run("EXPLAIN $statement"), '0A000', "... by the planner")
	  unless $statement =~ /^COPY/;
	is(contents('items'), $before, '... and nothing changed');
	return;
}

my $columns = q{id bigint NOT NULL, val int CHECK (val < 1000), t varchar(10),
	n numeric DEFAULT 1.5, v vector(2),
	g bigint GENERATED ALWAYS AS (id * 10 + val) STORED};
sql(qq{
	CREATE TABLE items ($columns) PARTITION BY HASH (id);
	CREATE TABLE ref ($columns) PARTITION BY HASH (id);
	SELECT vecdist.create_distributed_table('items', partitions => 5);
	CREATE TABLE ref_0 PARTITION OF ref FOR VALUES WITH (MODULUS 1, REMAINDER 0);
	CREATE TABLE other (id int, val int);
	INSERT INTO other SELECT i, i FROM generate_series(1, 10) i;});
my $fill = q{INSERT INTO TABLE (id, val, t, v)
	SELECT i, i % 10, 'row ' || i, array[i, -i]::vector
	FROM generate_series(1, 300) i;};

# ----------------------------------------------------------------------
# Statements
# ----------------------------------------------------------------------

both($fill, 'INSERT ... SELECT');
both($_, $_) foreach (
	q{INSERT INTO TABLE VALUES (1001, 1, 'one'), (1002, NULL, NULL, NULL)},
	q{INSERT INTO TABLE (t, id) VALUES ('x', 1003)},
	q{INSERT INTO TABLE (id) SELECT id + 2000 FROM TABLE},
	q{INSERT INTO TABLE (id, val) SELECT count(*), min(val) FROM TABLE},
	q{UPDATE TABLE SET val = val + 1, t = upper(t) WHERE id = 7},
	q{UPDATE TABLE SET val = val * 2 WHERE val > 3 AND t LIKE 'row 1%'},
	q{UPDATE TABLE SET n = n / 3, v = v + '[1,1]'},
	q{UPDATE TABLE SET val = DEFAULT, n = DEFAULT WHERE id = 9},
	q{UPDATE TABLE SET (val, t) = (5, 'both') WHERE id IN (10, 11)},
	q{UPDATE TABLE SET val = (SELECT max(val) FROM other) WHERE id = 12},
	q{UPDATE TABLE SET val = 1 WHERE id = (SELECT min(id) + 12 FROM other)},
	q{UPDATE TABLE SET val = 3 WHERE id = ANY (ARRAY[20, 21, 22])},
	q{UPDATE TABLE SET t = 'never' WHERE now() < '2000-01-01'},
	q{UPDATE TABLE SET t = 'never' WHERE false},
	q{DELETE FROM TABLE WHERE id BETWEEN 30 AND 40},
	q{DELETE FROM TABLE WHERE val IS NULL OR t = 'x'},
	q{DELETE FROM TABLE WHERE id > 2000 AND id < (SELECT 2010)},
	q{DELETE FROM TABLE WHERE v <-> '[50,-50]' < 3});

# Errors of a worker keep their SQLSTATE, and undo the statement everywhere.
both($_, $_) foreach (
	q{INSERT INTO TABLE (id, val) VALUES (3001, 1), (3002, 1000), (3003, 2)},
	q{INSERT INTO TABLE (id, val) SELECT i, i FROM generate_series(990, 1010) i},
	q{INSERT INTO TABLE (id) VALUES (3001), (NULL)},
	q{INSERT INTO TABLE (id, t) VALUES (3001, 'much too long a text')},
	q{UPDATE TABLE SET val = val + 995},
	q{UPDATE TABLE SET t = t || ' and more'},
	q{UPDATE TABLE SET t = repeat('x', 11)},
	q{UPDATE TABLE SET val = 1 / (id - 100)},
	q{DELETE FROM TABLE WHERE 1 / (id - 100) = 0});

# The context says which worker failed, and at what.
my (undef, undef, $stderr) = $coordinator->psql('postgres',
	q{UPDATE items SET val = 1000 WHERE id = 1});
like($stderr, qr/CONTEXT:\s+remote command on worker "w[12]" .*UPDATE public\.items_/,
	'context of an error');

# Row counts are those of all partitions.
is(sql(q{DO $$ DECLARE n int; BEGIN
	UPDATE items SET val = val; GET DIAGNOSTICS n = ROW_COUNT;
	IF n <> (SELECT count(*) FROM ref) THEN RAISE '% rows', n; END IF;
	DELETE FROM items WHERE id = 1 OR id = 2; GET DIAGNOSTICS n = ROW_COUNT;
	IF n <> 2 THEN RAISE '% rows', n; END IF; END $$}), '', 'row counts');
sql('DELETE FROM ref WHERE id = 1 OR id = 2');

both(q{
	SET plan_cache_mode = force_generic_plan;
	PREPARE i (bigint, int, text) AS INSERT INTO TABLE VALUES ($1, $2, $3);
	PREPARE u (int, bigint) AS UPDATE TABLE SET val = $1, n = n + $1 WHERE id = $2;
	PREPARE d (bigint[]) AS DELETE FROM TABLE WHERE id = ANY ($1);
	EXECUTE i (4001, 1, 'a'); EXECUTE i (4002, NULL, NULL); EXECUTE i (4003, 2, 'b');
	EXECUTE u (7, 4001); EXECUTE u (8, 4002); EXECUTE u (NULL, 4003);
	EXECUTE d ('{50,51,52}'); EXECUTE d ('{}');}, 'generic plans');
both('SET DateStyle = german; SET IntervalStyle = iso_8601;
	UPDATE TABLE SET n = extract(epoch FROM interval \'3 days\') WHERE id = 60',
	'settings of the session');

# ----------------------------------------------------------------------
# Transactions
# ----------------------------------------------------------------------

both(q{BEGIN; INSERT INTO TABLE (id) VALUES (5001); UPDATE TABLE SET val = 7;
	DELETE FROM TABLE WHERE id < 200; ROLLBACK}, 'ROLLBACK');
both(q{BEGIN; INSERT INTO TABLE (id) VALUES (5001);
	UPDATE TABLE SET val = 7 WHERE id = 5001; COMMIT}, 'own rows');
both(q{
	BEGIN;
	INSERT INTO TABLE (id) VALUES (6001);
	SAVEPOINT a;
	INSERT INTO TABLE (id) VALUES (6002);
	SAVEPOINT b;
	UPDATE TABLE SET val = 1 WHERE id > 6000;
	INSERT INTO TABLE (id, val) VALUES (6003, 1000);
	ROLLBACK TO b;
	INSERT INTO TABLE (id, val) SELECT 6100 + count(*), 6 FROM TABLE WHERE id > 6000;
	RELEASE a;
	SAVEPOINT c;
	DELETE FROM TABLE WHERE id = 6001;
	ROLLBACK TO c;
	COMMIT;}, 'savepoints');
both(q{
	BEGIN;
	SAVEPOINT a;
	INSERT INTO TABLE (id) VALUES (6501);
	ROLLBACK TO a;
	COMMIT;}, 'everything below a savepoint undone');
both(q{
	BEGIN;
	INSERT INTO TABLE (id) VALUES (6601);
	INSERT INTO TABLE (id, val) VALUES (6602, 1000);
	INSERT INTO TABLE (id) VALUES (6603);
	COMMIT;}, 'an error aborts the transaction');
both(q{
	DO $$ BEGIN
		FOR i IN 7001..7010 LOOP
			BEGIN
				INSERT INTO TABLE (id, val) VALUES (i, 3);
				UPDATE TABLE SET t = 'seen' WHERE id = i AND val = 3;
				INSERT INTO TABLE (id, val) VALUES (i + 100, 998 + i % 3);
			EXCEPTION WHEN check_violation THEN
				INSERT INTO TABLE (id, t) VALUES (i, 'caught');
			END;
		END LOOP;
	END $$}, 'EXCEPTION blocks');
both(q{
	DO $$ DECLARE r record; BEGIN
		FOR r IN SELECT id FROM TABLE WHERE id BETWEEN 100 AND 120 ORDER BY id LOOP
			UPDATE TABLE SET val = (SELECT count(*) FROM TABLE WHERE id < r.id) % 100
			WHERE id = r.id;
			INSERT INTO TABLE (id, val) VALUES (r.id + 8000, 1);
		END LOOP;
	END $$}, 'writes in a loop over the table');

# A function that writes below the statement that calls it.
foreach my $table ('items', 'ref')
{
	sql(qq{
		CREATE FUNCTION f_write_$table(i bigint) RETURNS int LANGUAGE plpgsql AS \$\$
		BEGIN
			BEGIN
				INSERT INTO $table (id, t) VALUES (i + 20000, 'inner');
				IF i % 3 = 0 THEN RAISE division_by_zero; END IF;
			EXCEPTION WHEN division_by_zero THEN RETURN 0;
			END;
			RETURN 1;
		END \$\$});
}
sql("INSERT INTO $_ (id, val)
	SELECT i, f_write_$_(i) FROM generate_series(10001, 10050) i")
  foreach ('items', 'ref');
is(contents('items'), contents('ref'),
	'a function that inserts and fails while rows are inserted');

# Rows inserted by a statement are there for its triggers.
sql(q{
	CREATE TABLE seen (n bigint);
	CREATE FUNCTION count_rows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO seen SELECT count(*) FROM items WHERE t = 'trigger';
		RETURN NULL; END $$;
	SET vecdist.enable_ddl_propagation = off;
	CREATE TRIGGER after_insert AFTER INSERT ON items
		FOR EACH STATEMENT EXECUTE FUNCTION count_rows();});
sql(q{INSERT INTO items (id, t) SELECT i, 'trigger' FROM generate_series(30001, 30020) i});
is(sql('SELECT n FROM seen'), '20', 'a statement trigger sees the rows');
sql(q{SET vecdist.enable_ddl_propagation = off; DROP TRIGGER after_insert ON items;
	DELETE FROM items WHERE t = 'trigger'});

# A row of a local table that somebody else changes meanwhile is joined again
# with the same row of the worker.
my $other = $coordinator->background_psql('postgres', on_error_die => 1);
my $third = $coordinator->background_psql('postgres', on_error_die => 1);
$other->query_safe('BEGIN; UPDATE other SET val = val + 100 WHERE id = 3');
$third->query_until(
	qr/waiting/, q{
	\echo waiting
	UPDATE other o SET val = o.val + i.val FROM items i WHERE i.id = o.id + 12 AND o.id = 3;
	});
$coordinator->poll_query_until('postgres',
	q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'})
  or die 'the second update does not wait';
$other->query_safe('COMMIT');
$third->query_safe('SELECT 1');
is(sql('SELECT val FROM other WHERE id = 3'),
	sql('SELECT 103 + val FROM ref WHERE id = 15'), 'a row is rechecked');
$other->quit;
$third->quit;
sql('UPDATE other SET val = id');

# ----------------------------------------------------------------------
# One leaf, and a table with leaves here and there
# ----------------------------------------------------------------------

my $leaf = sql('SELECT tableoid::regclass FROM items WHERE id = 70');
sql("UPDATE $leaf SET t = 'leaf' WHERE id = 70;
	INSERT INTO $leaf (id, t) SELECT 70, 'again'");
is(sql("SELECT t FROM items WHERE id = 70 ORDER BY t"), "again\nleaf",
	'statements on a leaf');
is(run("INSERT INTO $leaf (id) SELECT i FROM generate_series(1, 50) i"),
	'23514', 'a leaf takes no rows of other leaves');
sql("DELETE FROM items WHERE id = 70; DELETE FROM ref WHERE id = 70");

# Leaves of other shape: column order differs, one was dropped.
$_->safe_psql('postgres', q{
	CREATE TABLE mixed (k int, a text, b int) PARTITION BY RANGE (k);
	CREATE TABLE mixed_here (junk int, b int, k int NOT NULL, a text);
	ALTER TABLE mixed_here DROP COLUMN junk;}) foreach $cluster->servers;
$cluster->worker('w1')->safe_psql('postgres', q{
	CREATE TABLE mixed_w1 (b int, k int, a text);
	ALTER TABLE mixed ATTACH PARTITION mixed_w1 FOR VALUES FROM (100) TO (200)});
$cluster->worker('w2')->safe_psql('postgres', q{
	CREATE TABLE mixed_w2 (a text, junk text, b int, k int);
	ALTER TABLE mixed_w2 DROP COLUMN junk;
	ALTER TABLE mixed ATTACH PARTITION mixed_w2 FOR VALUES FROM (200) TO (300)});
sql(q{
	ALTER TABLE mixed ATTACH PARTITION mixed_here FOR VALUES FROM (0) TO (100);
	CREATE FOREIGN TABLE mixed_w1 (a text, gone int, k int, b int) SERVER w1;
	ALTER FOREIGN TABLE mixed_w1 DROP COLUMN gone;
	ALTER TABLE mixed ATTACH PARTITION mixed_w1 FOR VALUES FROM (100) TO (200);
	CREATE FOREIGN TABLE mixed_w2 PARTITION OF mixed FOR VALUES FROM (200) TO (300)
		SERVER w2;
	INSERT INTO mixed SELECT i * 10, 'row ' || i, i FROM generate_series(0, 29) i;
	UPDATE mixed SET b = b + 100, a = a || '!' WHERE k % 20 = 0;
	DELETE FROM mixed WHERE k IN (0, 100, 200);});
is(sql('SELECT count(*), sum(k), sum(b), min(a), max(a) FROM mixed'),
	'27|4050|1605|row 1|row 9', 'leaves here and there, of different shape');
is(run(q{UPDATE mixed SET k = 150 WHERE k = 10}), '0A000',
	'a row does not move from a local leaf to a worker');
is(run(q{INSERT INTO mixed VALUES (10, 'x', 1), (110, 'y', 2), (1000, 'none', 3)}),
	'23514', 'no partition for a row');
is(sql('SELECT count(*) FROM mixed'), '27', 'and nothing was inserted');

# ----------------------------------------------------------------------
# TRUNCATE
# ----------------------------------------------------------------------

both('BEGIN; TRUNCATE TABLE; INSERT INTO TABLE (id) VALUES (1); ROLLBACK',
	'TRUNCATE and ROLLBACK');
both('BEGIN; INSERT INTO TABLE (id) VALUES (1); TRUNCATE TABLE;
	INSERT INTO TABLE (id) VALUES (2); COMMIT', 'TRUNCATE');
both($fill, 'INSERT after TRUNCATE');

# ----------------------------------------------------------------------
# What is refused
# ----------------------------------------------------------------------

sql(q{
	CREATE FUNCTION own(int) RETURNS int IMMUTABLE LANGUAGE sql
		AS 'SELECT $1 FROM generate_series(1, 1)';
	CREATE VIEW checked AS SELECT * FROM items WHERE val < 5 WITH CHECK OPTION;});
refused('INSERT INTO items (id) VALUES (1) RETURNING id',  'INSERT RETURNING');
refused('UPDATE items SET val = 1 RETURNING *',            'UPDATE RETURNING');
refused('DELETE FROM items WHERE id = 1 RETURNING id',     'DELETE RETURNING');
refused('INSERT INTO items (id) VALUES (1) ON CONFLICT DO NOTHING',
	'ON CONFLICT DO NOTHING');
refused('UPDATE items SET id = id + 1',       'update of the partition key');
refused("UPDATE $leaf SET id = 5",            'update of a leaf\'s partition key');
refused('UPDATE items SET val = random() * 10', 'volatile value');
refused('UPDATE items SET val = own(val)',    'function that the worker may not have');
refused('DELETE FROM items WHERE own(val) = 1', 'condition of this kind');
refused('UPDATE items SET val = o.val FROM other o WHERE o.id = items.id',
	'UPDATE FROM');
refused('DELETE FROM items USING other o WHERE o.id = items.id', 'DELETE USING');
refused('DELETE FROM items WHERE id IN (SELECT id FROM other)', 'semijoin');
refused('UPDATE items SET val = (SELECT val FROM other o WHERE o.id = items.id)',
	'correlated subquery');
refused('MERGE INTO items USING other o ON o.id = items.id
	WHEN MATCHED THEN DELETE', 'MERGE');
refused('WITH x AS (DELETE FROM items WHERE id = 1) SELECT 1',
	'data-modifying WITH');
refused("INSERT INTO checked (id, val) VALUES (1, 1)", 'WITH CHECK OPTION');
refused('UPDATE checked SET val = 1',         'WITH CHECK OPTION, UPDATE');

refused("INSERT INTO $leaf (id) VALUES (1) RETURNING id", 'RETURNING, on a leaf');
refused("INSERT INTO $leaf (id) VALUES (1) ON CONFLICT DO NOTHING",
	'ON CONFLICT, on a leaf');
is(run('BEGIN; DECLARE c CURSOR FOR SELECT id FROM items; FETCH 1 FROM c;
	DELETE FROM items WHERE CURRENT OF c; ROLLBACK'), '0A000',
	'refused: WHERE CURRENT OF');

# Core accepts the trigger, but the worker's rows would not be in its table.
sql(q{
	CREATE FUNCTION count_new() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		RAISE 'saw % rows', (SELECT count(*) FROM new_rows); END $$;
	SET vecdist.enable_ddl_propagation = off;
	CREATE TRIGGER new_table AFTER UPDATE ON items REFERENCING NEW TABLE AS new_rows
		FOR EACH STATEMENT EXECUTE FUNCTION count_new();});
refused('UPDATE items SET val = 1', 'UPDATE with a transition table');
sql(q{SET vecdist.enable_ddl_propagation = off; DROP TRIGGER new_table ON items;
	SET vecdist.enable_ddl_propagation = off;
	CREATE TRIGGER new_table AFTER INSERT ON items REFERENCING NEW TABLE AS new_rows
		FOR EACH STATEMENT EXECUTE FUNCTION count_new();});
refused('INSERT INTO items (id) VALUES (1)', 'INSERT with a transition table');
refused("COPY items (id) FROM PROGRAM 'seq 1 3'", 'COPY with a transition table');
sql(q{SET vecdist.enable_ddl_propagation = off; DROP TRIGGER new_table ON items});

sql(q{
	CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql
		AS 'BEGIN RETURN new; END';
	SET vecdist.enable_ddl_propagation = off;
	CREATE TRIGGER each_row BEFORE INSERT OR UPDATE OR DELETE ON items
		FOR EACH ROW EXECUTE FUNCTION nothing();});
refused('INSERT INTO items (id) VALUES (1)',  'INSERT with a row trigger');
refused('UPDATE items SET val = 1',           'UPDATE with a row trigger');
refused('DELETE FROM items',                  'DELETE with a row trigger');
refused("COPY items (id) FROM PROGRAM 'seq 1 3'", 'COPY with a row trigger');
sql(q{SET vecdist.enable_ddl_propagation = off; DROP TRIGGER each_row ON items});

$_->safe_psql('postgres', 'CREATE ROLE writer') foreach $cluster->servers;
sql(q{
	SET vecdist.enable_ddl_propagation = off;
	GRANT ALL ON items, ref TO writer;
	CREATE POLICY all_rows ON items USING (val < 5) WITH CHECK (val < 5);
	ALTER TABLE items ENABLE ROW LEVEL SECURITY;});
is(run('SET ROLE writer; INSERT INTO items (id, val) VALUES (1, 1)'),
	'0A000', 'refused: INSERT below row security');
is(run('SET ROLE writer; UPDATE items SET val = 1'),
	'0A000', 'refused: UPDATE below row security');
sql(q{SET vecdist.enable_ddl_propagation = off;
	ALTER TABLE items DISABLE ROW LEVEL SECURITY});

# Sequences give each coordinator the same values.
foreach my $type ('serial', 'int GENERATED BY DEFAULT AS IDENTITY')
{
	sql("CREATE TABLE numbered (id $type, a int) PARTITION BY HASH (a)");
	foreach my $i (0, 1)
	{
		$cluster->worker('w1')->safe_psql('postgres',
			"CREATE TABLE numbered_$i (id int NOT NULL, a int)");
		sql("CREATE FOREIGN TABLE numbered_$i PARTITION OF numbered
			FOR VALUES WITH (MODULUS 2, REMAINDER $i) SERVER w1");
	}
	is(run($_), '0A000', "refused for $type: $_") foreach (
		'INSERT INTO numbered (a) VALUES (1)',
		'INSERT INTO numbered (a) VALUES (1), (2)',
		'INSERT INTO numbered (a) SELECT 1',
		'INSERT INTO numbered VALUES (DEFAULT, 1)',
		"COPY numbered (a) FROM PROGRAM 'seq 1 3'");
	is(run('INSERT INTO numbered VALUES (1, 1), (2, 2)'), '', 'values of one\'s own');
	is(sql('SELECT id, a FROM numbered ORDER BY id'), "1|1\n2|2", 'only these');
	sql('DROP TABLE numbered');
	$cluster->worker('w1')->safe_psql('postgres',
		'DROP TABLE numbered_0, numbered_1');
}

# A statement that is refused in the middle of a transaction leaves the rest.
is(run(q{BEGIN; INSERT INTO items (id) VALUES (80001); SAVEPOINT s;
	UPDATE items SET id = 1; ROLLBACK TO s; COMMIT}), '0A000', 'refused after a savepoint');
is(sql('SELECT count(*) FROM items WHERE id = 80001'), '1', 'what was done before stays');

is(sql(q{SELECT count(*) FROM pg_prepared_xacts}), '0', 'nothing is left prepared here');
foreach my $group ($cluster->groups)
{
	is($cluster->worker($group)->safe_psql('postgres',
			'SELECT count(*) FROM pg_prepared_xacts'),
		'0', "nor on $group");
}

done_testing();
