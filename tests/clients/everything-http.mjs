// Runs the `everything` server over streamable HTTP, on a free port of the loopback interface alone.
//
// The package itself listens on every interface and on a port that somebody has to choose. Prints
// {"port": …} once it listens, and ends when its standard input does, so that it never outlives its test.

import { Server } from "node:net";

const listen = Server.prototype.listen;
Server.prototype.listen = function (...given) {
  const then = given.filter((argument) => typeof argument === "function");
  this.once("listening", () => process.stdout.write(`${JSON.stringify({ port: this.address().port })}\n`));
  return listen.call(this, { host: "127.0.0.1", port: 0 }, ...then);
};

// Nobody reads the server's talk; a full pipe would stop it.
console.log = console.error = () => {};

process.stdin.on("end", () => process.exit(0)).on("error", () => process.exit(0)).resume();

await import("@modelcontextprotocol/server-everything/dist/transports/streamableHttp.js");
