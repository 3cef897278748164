/* SPDX-License-Identifier: BSD-2-Clause */
/* smaccel explain: why the connections of a process are accelerated, or not. What `ss` cannot show: a process that the shim is not in, or in which it may
 * do nothing, has no row there. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../wire/reason.h"
#include "../wire/wire.h"
#include "cli.h"
#include "client.h"
#include "explain.h"
#include "fields.h"
#include "running.h"
#include "table.h"
#include "utf8.h"

#define SOCKET_PATH_BYTES ((int)sizeof(((struct sockaddr_un *)0)->sun_path))

/* A copy that does nothing to a terminal: a process has any bytes in its environment, and a cut may have come in the middle of a character. malloc'ed;
 * NULL without memory. */
static char *printable(const char *text)
{
	char *copy = utf8_repair(text);

	for (unsigned char *c = (unsigned char *)copy; c && *c; c++) {
		bool is_c1 = c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0; /* U+0080 to U+009F */

		if (*c < ' ' || *c == 0x7f || is_c1)
			*c = '?';
		if (is_c1)
			*++c = '?';
	}
	return copy;
}

void explanation_find(struct explanation *explanation, const char *subject, bool hinders, const char *format, ...)
{
	char text[TEXT_BYTES], *shown;
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	explanation->hindered |= hinders;
	shown = printable(text);
	if (!shown || json_array_append_new(explanation->findings, json_pack("{ss sb ss}", "subject", subject,
									     "hinders", hinders, "text", shown)))
		explanation->failed = true;
	free(shown);
}

/* ---- the helper ------------------------------------------------------------------------------------------------ */
/* The socket as the process sees it, with its root and its working folder, which may be others than here. The path as it is where that is too long for
 * an address. */
static void path_as_seen(char path[SOCKET_PATH_BYTES], const struct running *running, const char *socket_path)
{
	const char *from = *socket_path == '/' ? "root" : "cwd/";

	if (snprintf(path, SOCKET_PATH_BYTES, "/proc/%d/%s%s", (int)running->pid, from, socket_path) >=
	    SOCKET_PATH_BYTES)
		snprintf(path, SOCKET_PATH_BYTES, "%s", socket_path);
}

/* Who listens there, as the process has chosen it, may answer anything. -1: nobody. */
static int64_t listener_uid(const char *path)
{
	int door = client_connect(path, CLIENT_WAIT_MS);
	struct ucred peer;
	socklen_t bytes = sizeof(peer);
	int64_t uid = -1;

	if (door < 0)
		return -1;
	if (!getsockopt(door, SOL_SOCKET, SO_PEERCRED, &peer, &bytes))
		uid = peer.uid;
	close(door);
	return uid;
}

/* Whether there is one to be asked further. `shown`: the path that the process knows. */
static bool explain_helper(struct explanation *explanation, const struct running *running, const char *shown,
			   bool is_users_choice)
{
	int64_t uid = is_users_choice ? 0 : listener_uid(explanation->socket_path);
	char *text = NULL;
	json_t *status;
	int err;

	if (uid > 0 && uid != getuid()) {
		explanation_find(explanation, "helper", true,
				 "at %s listens a process of user %" PRId64 ", which is not asked", shown, uid);
		return false;
	}
	err = client_request(explanation->socket_path, WIRE_STATUS, &text);
	status = err || !text ? NULL : json_loads(text, 0, NULL);
	free(text);
	if (err == -ENOENT || err == -ECONNREFUSED)
		explanation_find(explanation, "helper", true,
				 "there is none at %s: start it (systemctl start smacceld)", shown);
	else if (err)
		explanation_find(explanation, "helper", true, "at %s: %s", shown, strerror(-err));
	else if (json_is_true(json_object_get(json_object_get(status, "switches"), "off")))
		explanation_find(explanation, "helper", true,
				 "the kill switch is set: every connection is on plain TCP until `smaccel on`");
	else if (is_users_choice || explain_reach(explanation, running, shown))
		explanation_find(explanation, "helper", false, "it answers at %s", shown);
	json_decref(status);
	return !err;
}

/* ---- the connections ------------------------------------------------------------------------------------------- */
static json_t *group_of(json_t *groups, const json_t *row)
{
	json_t *group;
	size_t i;

	json_array_foreach (groups, i, group) {
		if (!strcmp(fields_text(group, "state"), fields_text(row, "state")) &&
		    !strcmp(fields_text(group, "reason"), fields_text(row, "reason")))
			return group;
	}
	group = json_pack("{ss ss ss si ss}", "state", fields_text(row, "state"), "reason", fields_text(row, "reason"),
			  "text", reason_text(reason_of_name(fields_text(row, "reason"))), "count", 0, "remote",
			  fields_text(row, "remote"));
	json_array_append_new(groups, group);
	return group;
}

/* The rows of the process, counted by state and reason. */
static void count_connections(struct explanation *explanation, pid_t pid)
{
	struct wire_request message = { 0 };
	json_t *answer;
	const json_t *row;
	size_t i;

	wire_header_init(&message.header, WIRE_CONNECTIONS, sizeof(message), 0, 0);
	answer = client_ask_long(explanation->title, explanation->socket_path, &message, sizeof(message));
	if (!answer)
		return;
	explanation->connections = json_array();
	json_array_foreach (json_object_get(answer, "connections"), i, row) {
		json_t *group;

		if (fields_number(row, "pid") != (uint64_t)pid)
			continue;
		group = group_of(explanation->connections, row);
		json_object_set_new(group, "count", json_integer((json_int_t)fields_number(group, "count") + 1));
	}
	json_decref(answer);
}

static void print_connections(const json_t *groups)
{
	const json_t *group;
	size_t i;

	if (!groups)
		return;
	if (!json_array_size(groups))
		puts("\nIt has no connection that smaccel knows. Those to other hosts are not counted, nor those that "
		     "were there before the "
		     "library, as of inetd.");
	json_array_foreach (groups, i, group) {
		char count[TABLE_NUMBER_BYTES], text[TEXT_BYTES], *shown;

		if (!i)
			puts("\nIts connections on this host, by state and reason:");
		snprintf(text, sizeof(text), "%8s  %s, %s (%s%s): %s",
			 table_format_count(count, fields_number(group, "count")), fields_text(group, "state"),
			 fields_text(group, "reason"), fields_number(group, "count") > 1 ? "one to " : "to ",
			 fields_text(group, "remote"), fields_text(group, "text"));
		shown = printable(text);
		if (shown)
			puts(shown);
		free(shown);
	}
}

/* ---- the command ----------------------------------------------------------------------------------------------- */
static void print_explanation(const struct explanation *explanation, const struct running *running)
{
	const json_t *finding;
	size_t i;

	printf("%s/%d, user %" PRIu32 "\n", running->name, (int)running->pid, running->uid);
	json_array_foreach (explanation->findings, i, finding) {
		printf("  %-3s %-9s %s\n", json_is_true(json_object_get(finding, "hinders")) ? "NO" : "ok",
		       fields_text(finding, "subject"), fields_text(finding, "text"));
	}
	print_connections(explanation->connections);
}

static bool print_json(struct explanation *explanation, const struct running *running)
{
	json_t *root = json_pack("{sI ss sI sb sO sO?}", "pid", (json_int_t)running->pid, "comm", running->name, "uid",
				 (json_int_t)running->uid, "hindered", explanation->hindered, "findings",
				 explanation->findings, "connections", explanation->connections);
	bool good = root && !json_dumpf(root, stdout, JSON_COMPACT);

	if (good)
		putchar('\n');
	else
		fprintf(stderr, "%s: out of memory\n", explanation->title);
	json_decref(root);
	return good;
}

static void explain_all(struct explanation *explanation, const struct running *running, const char *socket_option)
{
	const char *own = running_variable(running, "SMACCEL_SOCKET");
	const char *shown = socket_option ? socket_option : own && *own ? own : WIRE_SOCKET_DEFAULT;
	char path[SOCKET_PATH_BYTES];

	path_as_seen(path, running, shown);
	explanation->socket_path = socket_option ? socket_option : path;
	explain_process(explanation, running);
	if (explain_helper(explanation, running, shown, socket_option))
		count_connections(explanation, running->pid);
}

static int explain(const char *title, pid_t pid, const char *socket_option, bool as_json)
{
	struct explanation explanation = { .title = title, .findings = json_array() };
	struct running running;
	int err = running_read(pid, &running);

	if (err == -EACCES || err == -EPERM)
		fprintf(stderr, "%s: process %d is another user's: it takes root to look into it\n", title, (int)pid);
	else if (err)
		fprintf(stderr, "%s: process %d: %s\n", title, (int)pid, strerror(-err));
	if (!err) {
		explain_all(&explanation, &running, socket_option);
		if (explanation.failed)
			fprintf(stderr, "%s: out of memory\n", title);
		else if (as_json)
			explanation.failed = !print_json(&explanation, &running);
		else
			print_explanation(&explanation, &running);
		running_free(&running);
	}
	json_decref(explanation.connections);
	json_decref(explanation.findings);
	return err || explanation.failed || explanation.hindered ? CLI_FAILURE : CLI_OK;
}

/* -1: it is not a process's number. */
static pid_t parse_pid(const char *text)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	return *text >= '1' && *text <= '9' && !*end && number <= INT_MAX ? (pid_t)number : -1;
}

int cli_explain_main(int argc, const char **argv)
{
	char *socket_path = NULL;
	int json = 0, status = CLI_USAGE;
	struct poptOption table[] = {
		{ "socket", 0, POPT_ARG_STRING, &socket_path, 0,
		  "the helper's socket (else the one that the process looks for)", "PATH" },
		{ "json", 0, POPT_ARG_NONE, &json, 0, "print JSON, for programs", NULL },
		POPT_AUTOHELP POPT_TABLEEND,
	};
	poptContext context = cli_context(argc, argv, table, 0);
	const char *argument;

	poptSetOtherOptionHelp(context, "[--json] [--socket=PATH] PID");
	if (cli_options_read(context, argv) && cli_socket_is_named(socket_path, argv[0])) {
		argument = poptGetArg(context);
		if (!argument)
			fprintf(stderr, "%s: which process? See `%s --help`\n", argv[0], argv[0]);
		else if (parse_pid(argument) < 0)
			fprintf(stderr, "%s: \"%s\" is no process's number; pidof(1) finds it\n", argv[0], argument);
		else if (poptPeekArg(context))
			fprintf(stderr, "%s: one process at a time\n", argv[0]);
		else
			status = explain(argv[0], parse_pid(argument), socket_path, json);
	}
	free(socket_path);
	poptFreeContext(context);
	return status;
}
