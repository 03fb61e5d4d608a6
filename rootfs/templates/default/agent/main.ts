import { createServer } from 'node:http'
createServer((request, response) => {
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify(request.url === '/ping' ? { status: 'Healthy' } : { reply: 'hello' }))
}).listen(8080, '0.0.0.0')
