/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line's exchange with the helper, against a helper of our own that answers well, badly or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../helper/cli/client.h"
#include "../../helper/wire/wire.h"

struct door {
	char path[100];
	int listener;
	pthread_t thread;
	/* What it answers. */
	int error;
	const char *json;    /* NULL: no fd */
	uint32_t json_bytes; /* 0: strlen(json) */
	uint16_t type;       /* 0: WIRE_REPLY */
	uint16_t version;    /* 0: WIRE_VERSION */
	bool silent;         /* takes the request, keeps the connection, says nothing */
	bool late;           /* answers when another one has been answered, who asks whether it lives */
	bool hang_up;
	/* What it saw. */
	uint16_t request;
};

static int json_fd(const char *json)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_int_equal(write(fd, json, strlen(json)), strlen(json));
	return fd;
}

static void answer(struct door *door, int client)
{
	struct wire_reply reply = { .error = door->error };
	int fd = door->json ? json_fd(door->json) : -1;

	wire_header_init(&reply.header, door->type ? door->type : WIRE_REPLY, sizeof(reply), 0, 0);
	if (door->version)
		reply.header.version = door->version;
	if (door->json)
		reply.json_bytes = door->json_bytes ? door->json_bytes : (uint32_t)strlen(door->json);
	wire_send(client, &reply, sizeof(reply), fd);
	if (fd >= 0)
		close(fd);
}

static void *serve(void *context)
{
	struct door *door = context;
	char message[WIRE_MESSAGE_MAX];
	int client = accept(door->listener, NULL, NULL);
	ssize_t bytes = recv(client, message, sizeof(message), 0);

	if (bytes > 0 && !wire_check(message, (size_t)bytes))
		door->request = ((struct wire_header *)message)->type;
	if (door->late) {
		int other = accept(door->listener, NULL, NULL);

		recv(other, message, sizeof(message), 0);
		answer(door, other);
		close(other);
	}
	if (!door->silent && !door->hang_up)
		answer(door, client);
	if (door->silent) /* until the client has given up */
		while (recv(client, message, sizeof(message), 0) > 0)
			;
	close(client);
	return NULL;
}

static void door_open(struct door *door)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	static int number;

	snprintf(door->path, sizeof(door->path), "/tmp/smaccel-test-cli-%d-%d", (int)getpid(), number++);
	strcpy(address.sun_path, door->path);
	unlink(door->path);
	door->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(door->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(door->listener, 4), 0);
	assert_int_equal(pthread_create(&door->thread, NULL, serve, door), 0);
}

static void door_close(struct door *door)
{
	pthread_join(door->thread, NULL);
	close(door->listener);
	unlink(door->path);
}

/* One request; its result, and the text (NULL: none), which the caller frees. */
static int ask(struct door *door, enum wire_type request, char **text)
{
	int err;

	door_open(door);
	err = client_request(door->path, request, text);
	door_close(door);
	return err;
}

static void test_client_returns_the_text(void **state)
{
	struct door door = { .json = "{\"totals\": {}}" };
	char *text = NULL;

	(void)state;
	assert_int_equal(ask(&door, WIRE_STATUS, &text), 0);
	assert_int_equal(door.request, WIRE_STATUS);
	assert_string_equal(text, door.json);
	free(text);
}

static void test_client_needs_no_text(void **state)
{
	struct door door = { 0 };

	(void)state;
	assert_int_equal(ask(&door, WIRE_OFF, NULL), 0);
	assert_int_equal(door.request, WIRE_OFF);
}

static void test_client_passes_the_helpers_error_on(void **state)
{
	struct door door = { .error = -EPERM };

	(void)state;
	assert_int_equal(ask(&door, WIRE_ON, NULL), -EPERM);
}

static void test_client_refuses_nonsense(void **state)
{
	struct door shorter = { .json = "{}", .json_bytes = 100 };
	struct door huge = { .json = "{}", .json_bytes = UINT32_MAX };
	struct door positive = { .error = 5 };
	struct door type = { .type = WIRE_WELCOME };
	struct door version = { .version = WIRE_VERSION + 1 };
	struct door gone = { .hang_up = true };
	char *text;

	(void)state;
	assert_int_equal(ask(&shorter, WIRE_STATUS, &text), -EPROTO);
	assert_null(text);
	assert_int_equal(ask(&huge, WIRE_STATUS, &text), -EPROTO);
	assert_int_equal(ask(&positive, WIRE_STATUS, &text), -EPROTO);
	assert_true(ask(&type, WIRE_STATUS, &text) < 0);
	assert_int_equal(ask(&version, WIRE_STATUS, &text), -EPROTONOSUPPORT);
	assert_int_equal(ask(&gone, WIRE_STATUS, &text), -ECONNRESET);
}

static void test_client_waits_no_longer_than_its_bound(void **state)
{
	struct door door = { .silent = true };
	struct timespec before, after;
	double seconds;

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &before);
	assert_int_equal(ask(&door, WIRE_STATUS, NULL), -ETIMEDOUT);
	clock_gettime(CLOCK_MONOTONIC, &after);
	seconds = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
	assert_true(seconds >= CLIENT_WAIT_MS / 1000.0 - 0.1);
	assert_true(seconds < CLIENT_WAIT_MS / 1000.0 + 1);
}

static void test_client_waits_longer_for_what_takes_long(void **state)
{
	struct door door = { .json = "{}", .late = true };
	struct wire_request message = { 0 };
	json_t *json;

	(void)state;
	wire_header_init(&message.header, WIRE_GROUP, sizeof(message), 0, 0);
	door_open(&door);
	json = client_ask_long("test", door.path, &message, sizeof(message));
	door_close(&door);
	assert_non_null(json);
	json_decref(json);
}

static void test_client_says_that_there_is_no_helper(void **state)
{
	char long_path[200];

	(void)state;
	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	assert_int_equal(client_request("/nonexistent/socket", WIRE_STATUS, NULL), -ENOENT);
	assert_int_equal(client_request(long_path, WIRE_STATUS, NULL), -ENAMETOOLONG);
}

static void test_client_says_what_to_do_without_the_right_to_ask(void **state)
{
	int said_fd = memfd_create("test", MFD_CLOEXEC), error_fd = dup(STDERR_FILENO);
	char said[400] = { 0 };

	(void)state;
	dup2(said_fd, STDERR_FILENO);
	client_complain("title", "/the/socket", -EACCES);
	dup2(error_fd, STDERR_FILENO);
	close(error_fd);
	assert_true(pread(said_fd, said, sizeof(said) - 1, 0) > 0);
	close(said_fd);
	assert_non_null(strstr(said, "/the/socket"));
	assert_non_null(strstr(said, "join the socket's group"));
	assert_non_null(strstr(said, "as root"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_client_returns_the_text),
		cmocka_unit_test(test_client_needs_no_text),
		cmocka_unit_test(test_client_passes_the_helpers_error_on),
		cmocka_unit_test(test_client_refuses_nonsense),
		cmocka_unit_test(test_client_waits_no_longer_than_its_bound),
		cmocka_unit_test(test_client_waits_longer_for_what_takes_long),
		cmocka_unit_test(test_client_says_that_there_is_no_helper),
		cmocka_unit_test(test_client_says_what_to_do_without_the_right_to_ask),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
