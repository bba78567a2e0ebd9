// node's pg with pgvector/pg: registerTypes, toSql, SparseVector.

'use strict';

const assert = require('node:assert/strict');
const { Client } = require('pg');
const pgvector = require('pgvector/pg');
const { SparseVector } = require('pgvector');

const [extension, method] = process.argv.slice(2);
const dims = 8;

// Multiples of 1/8, which every type has exactly
let state = 6;
function random(n) {
  state = (state * 48271) % 2147483647;
  return state % n;
}
const rows = [];
for (let id = 0; id <= 200; id++) {
  const values = Array.from({ length: dims }, () => (random(80) - 40) / 8);
  values[random(dims)] = 1.5;
  values[random(dims)] = 0;
  const bits = values.map((v) => (v > 0 ? '1' : '0')).join('');
  rows.push({ id, values, sparse: new SparseVector(values), bits });
}
const query = rows.shift();

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
const dot = (a, b) => sum(a.map((v, i) => v * b[i]));
const l2 = (a, b) => Math.hypot(...a.map((v, i) => v - b[i]));
const ip = (a, b) => -dot(a, b);
const cosine = (a, b) => 1 - dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
const l1 = (a, b) => sum(a.map((v, i) => Math.abs(v - b[i])));
const hamming = (a, b) => sum([...a].map((v, i) => Number(v !== b[i])));
const jaccard = (a, b) => {
  const both = sum([...a].map((v, i) => Number(v === '1' && b[i] === '1')));
  return both === 0 ? 1 : 1 - both / (both + hamming(a, b));
};

const numbers = [['<->', 'l2', l2], ['<#>', 'ip', ip], ['<=>', 'cosine', cosine], ['<+>', 'l1', l1]];
const columns = [
  ['embedding', 'vector', (row) => pgvector.toSql(row.values), (row) => row.values, numbers],
  ['half', 'halfvec', (row) => pgvector.toSql(row.values), (row) => row.values, numbers],
  ['sparse', 'sparsevec', (row) => pgvector.toSql(row.sparse), (row) => row.values, numbers],
  ['bits', 'bit', (row) => row.bits, (row) => row.bits,
    [['<~>', 'hamming', hamming], ['<%>', 'jaccard', jaccard]]],
];

async function searchWith(client, column, type, toSql, values, [operator, name, distance]) {
  const index = `${column}_${name}`;
  const what = `${column} ${operator}`;
  const search = `SELECT id, ${column} ${operator} $1 AS d FROM items ORDER BY d LIMIT 10`;
  await client.query(`CREATE INDEX ${index} ON items USING ${method} (${column} ${type}_${name}_ops)`);

  const plan = await client.query('EXPLAIN ' + search, [toSql(query)]);
  assert.ok(plan.rows.some((row) => row['QUERY PLAN'].includes(index)), `${what}: index is used`);

  const found = (await client.query(search, [toSql(query)])).rows;
  const exact = rows.map((row) => distance(values(row), values(query))).sort((a, b) => a - b);
  assert.equal(new Set(found.map((row) => row.id)).size, 10, `${what}: 10 rows`);
  found.forEach((row, i) => {
    for (const d of [row.d, distance(values(rows[row.id - 1]), values(query))]) {
      assert.ok(Math.abs(d - exact[i]) < 1e-4, `${what}: ${d}, not ${exact[i]}`);
    }
  });
  await client.query(`DROP INDEX ${index}`);
}

async function main() {
  const client = new Client();
  await client.connect();
  await client.query(`CREATE EXTENSION IF NOT EXISTS ${extension}`);
  await pgvector.registerTypes(client);
  await client.query('CREATE TABLE items (id int PRIMARY KEY, '
    + columns.map(([column, type]) => `${column} ${type}(${dims})`).join(', ') + ')');
  for (const row of rows) {
    await client.query('INSERT INTO items VALUES ($1, $2, $3, $4, $5)',
      [row.id, ...columns.map(([, , toSql]) => toSql(row))]);
  }

  const found = (await client.query('TABLE items ORDER BY id')).rows;
  assert.deepEqual(found, rows.map((row) => ({
    id: row.id, embedding: row.values, half: row.values, sparse: row.sparse, bits: row.bits,
  })), 'values');
  const none = await client.query('SELECT $1::vector AS v', [pgvector.toSql(null)]);
  assert.equal(none.rows[0].v, null, 'NULL');

  for (const [column, type, toSql, values, operators] of columns) {
    for (const operator of operators) {
      await searchWith(client, column, type, toSql, values, operator);
    }
  }

  await assert.rejects(client.query('SELECT $1::vector(3)', [pgvector.toSql([1, 2])]),
    { code: '22000' }, 'SQLSTATE');
  await client.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
