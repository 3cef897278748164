/* SPDX-License-Identifier: BSD-2-Clause */
/* One request to the helper and its reply, with a bound on the whole exchange: a stopped helper must not hang a script. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../wire/wire.h"
#include "client.h"

#define REPLY_BYTES_MAX (256u << 20) /* 65536 connections take about 30 MiB */
#define RETRY_MS 10
#define LONG_WAITS 10 /* for what a child of the helper's makes, on a machine that has much to do */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

int client_connect(const char *socket_path, int wait_ms)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int64_t deadline_ms = now_ms() + wait_ms;
	int door, err;

	if (strlen(socket_path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, socket_path);
	door = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (door < 0)
		return -errno;
	/* EAGAIN: the backlog is full, and there is no event to wait for. */
	while (connect(door, (struct sockaddr *)&address, sizeof(address)) < 0) {
		err = errno;
		if (err == EINTR)
			continue;
		if (err == EAGAIN && now_ms() < deadline_ms) {
			poll(NULL, 0, RETRY_MS);
			continue;
		}
		close(door);
		return err == EAGAIN ? -ETIMEDOUT : -err;
	}
	return door;
}

static int wait_readable(int door, int64_t deadline_ms)
{
	for (;;) {
		struct pollfd wanted = { .fd = door, .events = POLLIN };
		int64_t left_ms = deadline_ms - now_ms();
		int ready;

		if (left_ms <= 0)
			return -ETIMEDOUT;
		ready = poll(&wanted, 1, (int)left_ms);
		if (ready > 0)
			return 0;
		if (ready < 0 && errno != EINTR)
			return -errno;
	}
}

static int read_text(int fd, uint32_t bytes, char **text)
{
	char *buffer;
	size_t done = 0;

	if (bytes > REPLY_BYTES_MAX)
		return -EPROTO;
	buffer = malloc((size_t)bytes + 1);
	if (!buffer)
		return -ENOMEM;
	while (done < bytes) {
		ssize_t got = pread(fd, buffer + done, bytes - done, (off_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			free(buffer);
			return got < 0 ? -errno : -EPROTO;
		}
		done += (size_t)got;
	}
	buffer[bytes] = '\0';
	*text = buffer;
	return 0;
}

/* The next message on the door must be the reply. */
static int receive_reply(int door, int64_t deadline_ms, char **text)
{
	struct wire_reply reply;
	char message[WIRE_MESSAGE_MAX] = { 0 };
	ssize_t bytes;
	int fd = -1, err;

	do {
		err = wait_readable(door, deadline_ms);
		if (err)
			return err;
		bytes = wire_receive(door, message, sizeof(message), &fd, NULL);
	} while (bytes == -EAGAIN || bytes == -EINTR);
	if (bytes < 0)
		return (int)bytes;
	if (bytes == 0)
		return -ECONNRESET;
	err = wire_check(message, (size_t)bytes);
	if (err)
		goto out;
	memcpy(&reply, message, sizeof(reply)); /* of another type: looked at no further than its header */
	if (reply.header.type != WIRE_REPLY) {
		err = -EPROTO;
		goto out;
	}
	err = reply.error > 0 ? -EPROTO : reply.error;
	if (!err && text && fd >= 0)
		err = read_text(fd, reply.json_bytes, text);
out:
	if (fd >= 0)
		close(fd);
	return err;
}

/* Waits so many times CLIENT_WAIT_MS, for as long as the helper answers another request in between. */
static int exchange(const char *socket_path, const void *message, size_t bytes, char **text, int waits)
{
	int64_t deadline_ms = now_ms() + CLIENT_WAIT_MS;
	int door, err;

	if (text)
		*text = NULL;
	door = client_connect(socket_path, CLIENT_WAIT_MS);
	if (door < 0)
		return door;
	err = wire_send(door, message, bytes, -1);
	if (!err)
		err = receive_reply(door, deadline_ms, text);
	for (int i = 1; i < waits && err == -ETIMEDOUT && !client_request(socket_path, WIRE_STATUS, NULL); i++)
		err = receive_reply(door, now_ms() + CLIENT_WAIT_MS, text);
	close(door);
	return err;
}

int client_exchange(const char *socket_path, const void *message, size_t bytes, char **text)
{
	return exchange(socket_path, message, bytes, text, 1);
}

int client_request(const char *socket_path, enum wire_type request, char **text)
{
	struct wire_request message = { 0 };

	wire_header_init(&message.header, request, sizeof(message), 0, 0);
	return client_exchange(socket_path, &message, sizeof(message), text);
}

void client_complain(const char *title, const char *socket_path, int error)
{
	int err = error;

	switch (err) {
	case -ENOENT:
	case -ECONNREFUSED:
		fprintf(stderr,
			"%s: no helper at %s (%s)\n"
			"start it as root: smacceld, or systemctl start smacceld; one at another path: --socket PATH\n",
			title, socket_path, strerror(-err));
		break;
	case -EACCES:
		fprintf(stderr,
			"%s: not allowed to ask the helper at %s (%s)\n"
			"join the socket's group (`ls -l` names it; smacceld(8), socket-group), or ask as root\n",
			title, socket_path, strerror(-err));
		break;
	case -EPERM:
		fprintf(stderr, "%s: only root may do that\n", title);
		break;
	case -ETIMEDOUT:
		fprintf(stderr, "%s: the helper at %s does not answer in time; it may do yet what was asked for\n",
			title, socket_path);
		break;
	case -EPROTONOSUPPORT:
		fprintf(stderr, "%s: the helper at %s is of another version\n", title, socket_path);
		break;
	case -ECONNRESET:
	case -EPIPE:
		fprintf(stderr,
			"%s: the helper at %s has hung up: it has no room for more of this user, or is of another "
			"version (smacceld "
			"--version)\n",
			title, socket_path);
		break;
	default:
		fprintf(stderr, "%s: asking the helper at %s: %s\n", title, socket_path, strerror(-err));
	}
}

int client_ask(const char *title, const char *socket_path, enum wire_type request, char **text)
{
	int err = client_request(socket_path, request, text);

	if (err)
		client_complain(title, socket_path, err);
	return err;
}

/* Frees the text if it is not JSON. */
static json_t *parse_answer(const char *title, char **text)
{
	json_error_t error;
	json_t *json = *text ? json_loads(*text, 0, &error) : NULL;

	if (json)
		return json;
	fprintf(stderr, "%s: the helper's answer is not JSON%s%s\n", title, *text ? ": " : "", *text ? error.text : "");
	free(*text);
	*text = NULL;
	return NULL;
}

json_t *client_ask_json(const char *title, const char *socket_path, enum wire_type request, char **text)
{
	return client_ask(title, socket_path, request, text) ? NULL : parse_answer(title, text);
}

json_t *client_ask_long(const char *title, const char *socket_path, const void *message, size_t bytes)
{
	char *text = NULL;
	json_t *json;
	int err = exchange(socket_path, message, bytes, &text, LONG_WAITS);

	/* The helper answers one such request of a user at a time. */
	for (int i = 0; err == -EBUSY && i < CLIENT_WAIT_MS / RETRY_MS; i++) {
		poll(NULL, 0, RETRY_MS);
		err = exchange(socket_path, message, bytes, &text, LONG_WAITS);
	}
	if (err) {
		client_complain(title, socket_path, err);
		return NULL;
	}
	json = parse_answer(title, &text);
	free(text);
	return json;
}
