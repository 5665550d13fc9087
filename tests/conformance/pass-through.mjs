// A connection to the gateway for clients that cannot send a credential: byte for byte, with one header added.
//
// `Host` and `Origin` name the gateway where they named this. Everything else stays as it was sent, spaces and letter
// case too, and answers come through as they arrive.

import { connect, createServer } from "node:net";

const END = Buffer.from("\r\n\r\n");

/** Listens on a free port of the loopback interface; resolves with the port and with what closes it. */
export function passThrough(gateway, header, complain) {
  const open = new Set();
  const server = createServer((client) => {
    const own = `${client.localAddress}:${client.localPort}`;
    const upstream = connect(gateway.port, gateway.host);
    for (const socket of [client, upstream]) {
      open.add(socket);
      socket.setNoDelay(true);
      socket.on("close", () => open.delete(socket));
    }
    // One side that breaks off breaks off the other.
    client.on("error", () => upstream.destroy()).on("close", () => upstream.destroy());
    upstream.on("error", () => client.destroy());
    upstream.pipe(client);

    let begun = Buffer.alloc(0);
    let bodyLeft = 0;
    client.on("data", (bytes) => {
      let rest = bytes;
      while (rest.length > 0) {
        if (bodyLeft > 0) {
          const part = rest.subarray(0, bodyLeft);
          bodyLeft -= part.length;
          upstream.write(part);
          rest = rest.subarray(part.length);
          continue;
        }
        begun = Buffer.concat([begun, rest]);
        const end = begun.indexOf(END);
        if (end < 0) return;
        const lines = begun.subarray(0, end).toString("latin1").split("\r\n");
        rest = begun.subarray(end + END.length);
        begun = Buffer.alloc(0);
        if (lines.some((line) => /^transfer-encoding:/i.test(line))) {
          complain("a request without Content-Length cannot be passed on");
          client.destroy();
          return;
        }
        const length = lines.find((line) => /^content-length:/i.test(line));
        bodyLeft = length === undefined ? 0 : Number(length.split(":")[1]);
        const [first, ...fields] = lines;
        const sent = [
          first,
          header,
          ...fields.map((line) => renamed(line, own, `${gateway.host}:${gateway.port}`)),
        ];
        upstream.write(Buffer.from(`${sent.join("\r\n")}\r\n\r\n`, "latin1"));
      }
    });
    client.on("end", () => upstream.end());
  });
  return new Promise((listening, failed) => {
    server.on("error", failed);
    server.listen(0, "127.0.0.1", () => {
      const close = () => {
        server.close();
        for (const socket of open) socket.destroy();
      };
      listening({ port: server.address().port, close });
    });
  });
}

function renamed(line, own, gateway) {
  const at = line.indexOf(":");
  const name = line.slice(0, at).toLowerCase();
  const value = line.slice(at + 1).trim();
  if (name === "host" && value === own) return `${line.slice(0, at)}: ${gateway}`;
  if (name === "origin" && value === `http://${own}`) return `${line.slice(0, at)}: http://${gateway}`;
  return line;
}
