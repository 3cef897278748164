/* SPDX-License-Identifier: BSD-2-Clause */
/* One request to the helper through its door, and the reply (see wire/protocol.h). */
#ifndef SMACCEL_CLI_CLIENT_H
#define SMACCEL_CLI_CLIENT_H

#include <jansson.h>

#include "../wire/protocol.h"

#define CLIENT_WAIT_MS 2000

/* Asks the helper at socket_path and waits CLIENT_WAIT_MS at the most. 0, the helper's own -errno, or -errno:
 * -ENOENT, -ECONNREFUSED (no helper), -EACCES (its socket is closed to this user), -ETIMEDOUT, -EPROTO (not understood).
 * *text (may be NULL where the request has no result) becomes the helper's JSON text, the caller's to free; NULL if
 * the reply had none. */
int client_request(const char *socket_path, enum wire_type request, char **text);

/* The door alone: a connected socket, which the caller closes, or -errno. */
int client_connect(const char *socket_path, int wait_ms);

/* client_request() for a message of any kind: `message` begins with a header that wire_header_init() has filled. */
int client_exchange(const char *socket_path, const void *message, size_t bytes, char **text);

/* client_request() with a message on stderr for each failure. 0 or -errno. */
int client_ask(const char *title, const char *socket_path, enum wire_type request, char **text);

/* What to say of an -errno of the above; on stderr. */
void client_complain(const char *title, const char *socket_path, int error);

/* Asks for what a child process of the helper makes, waiting for its turn, and up to 20 s for the answer while the helper answers other requests
 * (a helper that is stopped: 4 s); NULL after a message. The caller owns a reference. */
json_t *client_ask_long(const char *title, const char *socket_path, const void *message, size_t bytes);

/* client_ask(), parsed. NULL after a message. The caller owns a reference. */
json_t *client_ask_json(const char *title, const char *socket_path, enum wire_type request, char **text);

#endif
