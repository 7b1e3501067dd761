"""HTTP/1.1 on the socket: each connection is read by a lean reader, which answers the hot routes by itself and gives
any other request to Hypercorn and Quart. ADR 0030 says why."""
