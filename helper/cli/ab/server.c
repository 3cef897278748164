/* SPDX-License-Identifier: BSD-2-Clause */
/* The server of a run: started, and waited for until it listens (or says what --ready asks for). */
#include <string.h>

#include "ab.h"
#include "listen.h"

#define POLL_NS 3000000 /* there is no event for "listens": /proc is looked at this often */

static bool is_ready(const struct ab_options *options, const struct ab_process *server)
{
	if (options->ready && !options->ready_port_h)
		return !regexec(&options->ready_regex, ab_text(&server->text[AB_STDOUT]), 0, NULL, 0) ||
		       !regexec(&options->ready_regex, ab_text(&server->text[AB_STDERR]), 0, NULL, 0);
	return ab_listens(server->pid, options->ready_port_h);
}

int ab_server_start(struct ab_process *server, const struct ab_options *options, const struct ab_arm_context *context,
		    char why[REASON_BYTES * 2])
{
	struct ab_spawn spawn = { .argv = (char *const *)options->server,
				  .cpus = options->pin_server ? &options->cpus_server : NULL,
				  .prepare = ab_arm_prepare,
				  .context = context };
	int64_t deadline_ns = ab_now_ns() + (int64_t)(options->timeout_s * 1e9);
	int err = ab_process_start(server, &spawn);
	char status[AB_STATUS_BYTES];

	if (err) {
		snprintf(why, REASON_BYTES * 2, "the server %s cannot be started: %s", options->server[0],
			 strerror(-err));
		return -1;
	}
	while (!is_ready(options, server)) {
		int64_t now_ns = ab_now_ns();
		enum ab_event event = ab_process_wait(NULL, server, now_ns + POLL_NS);

		if (event == AB_EVENT_SERVER_ENDED) {
			ab_process_end(server, 0);
			snprintf(why, REASON_BYTES * 2, "the server ended before it was ready (%s): %s",
				 ab_status_text(status, server->status), ab_process_last_words(server));
			return -1;
		}
		if (event == AB_EVENT_SIGNAL || now_ns > deadline_ns) {
			snprintf(why, REASON_BYTES * 2, "the server is not ready after %.0f s (%s): %s",
				 options->timeout_s,
				 options->ready ? options->ready
						: "it does not listen; --ready can say what to wait for",
				 ab_process_last_words(server));
			return -1;
		}
	}
	return 0;
}
