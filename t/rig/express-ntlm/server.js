// A server that binds an NTLM logon to its connection: any password will do,
// but type 3 must come where type 1 came.  Answers and logs as
// MapiRigServers.pm expects.
//
//   node server.js MODULES ADDRESS PORT NAME LOG

'use strict';

const [modules, address, port, name, log] = process.argv.slice(2);
const load = require('module').createRequire(modules + '/');
const express = load('express');
const ntlm = load('express-ntlm');
const fs = require('fs');

const app = express();

app.disable('x-powered-by');

app.use((request, response, next) => {
    const socket = request.socket;

    socket.count = socket.count === undefined ? 0 : socket.count + 1;

    const count = socket.count;
    const remote = socket.remotePort;

    response.on('finish', () => {
        const user = request.ntlm ? request.ntlm.UserName : '-';
        const authorization = request.headers.authorization || '-';
        const client = request.headers['x-client'] || '-';

        fs.appendFileSync(log, `${count} ${remote} ${response.statusCode} `
                               + `"${user}" "${authorization}" "${client}"\n`);
    });

    next();
});

app.use(ntlm());

app.use((request, response) => {
    const user = request.ntlm.DomainName + '\\' + request.ntlm.UserName;

    // the body is of no interest, but must be read
    request.resume();
    request.on('end', () => {
        response.send(`${user} ${request.socket.remotePort} ${name}`);
    });
});

fs.writeFileSync(log, '');

const server = app.listen(Number(port), address);

server.keepAliveTimeout = 120000;
