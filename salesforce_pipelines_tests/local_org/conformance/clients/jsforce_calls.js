// Calls of jsforce against a local org.
//
// Usage: node jsforce_calls.js NAME < {"url", "clientId", "clientSecret", "accessToken", "version", ...}
// Prints what the call gives, or {"thrown": {"name", "errorCode", "message"}}, as JSON. What a call
// needs beside the connection stands in the same object.

const { Connection, OAuth2 } = require("jsforce");

const PAGES_OF_200 = { "Sforce-Query-Options": "batchSize=200" };

const asOAuth2 = ({ url, clientId, clientSecret }) =>
  new OAuth2({ loginUrl: url, clientId, clientSecret });

const calls = {
  identity: async (connection) => connection.identity(),
  limits: async (connection) => {
    const limits = await connection.limits();
    return { limits, usage: connection.limitInfo.apiUsage };
  },
  describeGlobal: async (connection) => connection.describeGlobal(),
  describe: async (connection, { sobject }) => connection.describe(sobject),

  query: async (connection, { soql }) => connection.query(soql),
  queryToTheEnd: async (connection, { soql }) =>
    connection.query(soql, { autoFetch: true, maxFetch: 5000, headers: PAGES_OF_200 }),
  queryMore: async (connection, { soql }) => {
    const pages = [await connection.query(soql, { headers: PAGES_OF_200 })];
    while (!pages.at(-1).done) {
      pages.push(await connection.queryMore(pages.at(-1).nextRecordsUrl));
    }
    return pages;
  },
  queryAll: async (connection, { soql }) => connection.query(soql, { scanAll: true }),
  find: async (connection, { sobject, conditions, fields }) =>
    connection.sobject(sobject).find(conditions, fields).sort("-LastName").limit(10).execute(),

  retrieve: async (connection, { sobject, ids, options }) =>
    connection.retrieve(sobject, ids, options),
  create: async (connection, { sobject, records, options }) =>
    connection.create(sobject, records, options),
  update: async (connection, { sobject, records, options }) =>
    connection.update(sobject, records, options),
  upsert: async (connection, { sobject, records, key, options }) =>
    connection.upsert(sobject, records, key, options),
  destroy: async (connection, { sobject, ids, options }) =>
    connection.destroy(sobject, ids, options),
  updated: async (connection, { sobject, start, end }) => connection.updated(sobject, start, end),
  deleted: async (connection, { sobject, start, end }) => connection.deleted(sobject, start, end),

  listViews: async (connection, { sobject }) => {
    const { listviews } = await connection.sobject(sobject).listviews();
    const view = connection.sobject(sobject).listview(listviews[0].id);
    return { listviews, description: await view.describe(), results: await view.results() };
  },

  bulkLoad: async (connection, { options }) =>
    connection.bulk2.loadAndWaitForResults({ pollInterval: 50, ...options }),
  bulkJob: async (connection, { sobject, csv }) => {
    const job = connection.bulk2.createJob({ operation: "insert", object: sobject });
    const states = [(await job.open()).state];
    await job.uploadData(csv);
    await job.close();
    await job.poll(50, 20000);
    states.push((await job.check()).state);
    await job.delete();
    return { id: job.id, states };
  },
  bulkAbort: async (connection, { sobject }) => {
    const job = connection.bulk2.createJob({ operation: "insert", object: sobject });
    await job.open();
    await job.abort();
    return job.check();
  },
  bulkQuery: async (connection, { soql, scanAll }) => {
    const stream = await connection.bulk2.query(soql, { scanAll, pollInterval: 50 });
    return stream.toArray();
  },

  clientCredentials: async (connection, given) => {
    const loggedIn = new Connection({ oauth2: asOAuth2(given), loginUrl: given.url });
    const user = await loggedIn.authorize({ grant_type: "client_credentials" });
    const { totalSize } = await loggedIn.query("SELECT Id FROM Organization");
    return { user, totalSize };
  },
  refreshToken: async (connection, given) =>
    asOAuth2(given).refreshToken(given.refreshToken),
  refreshWhileCalling: async (connection, given) => {
    const expired = new Connection({
      oauth2: asOAuth2(given),
      instanceUrl: given.url,
      accessToken: "00Dxx0000000000!expired",
      refreshToken: given.refreshToken,
    });
    let refreshes = 0;
    expired.on("refresh", () => (refreshes += 1));
    const { totalSize } = await expired.query("SELECT Id FROM Organization");
    return { refreshes, totalSize };
  },
  revoke: async (connection, given) => {
    await asOAuth2(given).revokeToken(given.accessToken);
    return connection.query("SELECT Id FROM Organization");
  },
};

async function main(name) {
  let input = "";
  for await (const piece of process.stdin) input += piece;
  const given = JSON.parse(input);
  const { url, accessToken, version } = given;
  const connection = new Connection({ instanceUrl: url, accessToken, version });
  try {
    return await calls[name](connection, given);
  } catch (error) {
    const { name: kind, errorCode, message, data } = error;
    return { thrown: { name: kind, errorCode, message, data } };
  }
}

main(process.argv[2]).then((result) => process.stdout.write(JSON.stringify(result ?? null)));
