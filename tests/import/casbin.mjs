// What Casbin itself decides: for each request on standard input (one JSON array), `true` or `false`.
//
//   node casbin.mjs MODEL [POLICY] < requests.json
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

// Installed with the other packages that the tests need.
const require = createRequire(new URL('../clients/package.json', import.meta.url))
const { newEnforcer } = require('casbin')

const [model, policy] = process.argv.slice(2)
const enforcer = await newEnforcer(model, ...(policy ? [policy] : []))
const definition = /^\s*r\s*=\s*(.+)$/m.exec(readFileSync(model, 'utf8'))[1]
const fields = definition.split(',').map((field) => field.trim())

const kinds = {
  subject: ['sub', 'subject', 'user'],
  object: ['obj', 'object', 'thing', 'resource'],
  action: ['act', 'action', 'method'],
  domain: ['dom', 'domain', 'tenant', 'org'],
}

function value(request, field) {
  const [kind] = Object.entries(kinds).find(([, names]) => names.includes(field))
  const attributes = request.attributes?.[kind]
  return attributes && Object.keys(attributes).length > 0 ? attributes : request[kind]
}

const answers = []
for (const request of JSON.parse(readFileSync(0, 'utf8'))) {
  answers.push(await enforcer.enforce(...fields.map((field) => value(request, field))))
}
process.stdout.write(JSON.stringify(answers))
