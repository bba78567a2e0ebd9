-- The table of the demo: eight partitions, spread over the worker groups.
CREATE TABLE packages (
    id          integer NOT NULL,
    name        text NOT NULL,
    section     text NOT NULL,
    description text NOT NULL,
    embedding   vector(256) NOT NULL
) PARTITION BY HASH (id);

SELECT vecdist.create_distributed_table('packages', partitions => 8);
