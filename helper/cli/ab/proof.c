/* SPDX-License-Identifier: BSD-2-Clause */
/* Proof of treatment: what the helper counted for the processes of one run, which it knows by their SMACCEL_GROUP. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../../wire/wire.h"
#include "ab.h"
#include "latency.h"
#include "../client.h"
#include "../fields.h"

#define ASK_MAX 50 /* a helper takes large accounts in several goes */

/* One answer; NULL with *err. */
static json_t *ask(const struct ab_options *options, uint64_t group, int *err)
{
	struct wire_group message = { .group = group };
	char *text = NULL;
	json_t *answer = NULL;

	wire_header_init(&message.header, WIRE_GROUP, sizeof(message), 0, 0);
	*err = client_exchange(options->socket_path, &message, sizeof(message), &text);
	if (!*err) {
		answer = text ? json_loads(text, 0, NULL) : NULL;
		*err = answer ? 0 : -EPROTO;
	}
	free(text);
	return answer;
}

int ab_proof_take(struct ab_trial *trial, struct ab_run *run, uint64_t group)
{
	struct ab_proof *proof = &run->proof;
	json_t *answer = NULL;
	int err = 0;

	for (int i = 0; i < ASK_MAX && !err; i++) {
		json_decref(answer);
		answer = ask(trial->options, group, &err);
		if (json_is_true(json_object_get(answer, "complete")))
			break;
	}
	if (err)
		return err;
	proof->known = true;
	proof->sessions = fields_number(answer, "sessions");
	proof->connections = fields_number(answer, "connections");
	proof->redirected_bytes = fields_number(answer, "redirected_bytes");
	proof->redirected_msgs = fields_number(answer, "redirected_msgs");
	proof->passed_bytes = fields_number(answer, "passed_bytes");
	proof->passed_msgs = fields_number(answer, "passed_msgs");
	proof->reasons = json_incref(json_object_get(answer, "reasons"));
	ab_latency_take(trial, run, json_object_get(answer, "latency"));
	json_decref(answer);
	return 0;
}

/* Why nothing was redirected, from the reasons of the connections, as `smaccel ss` would show them. */
static void explain(const struct ab_proof *proof, char why[REASON_BYTES * 2])
{
	const char *reason, *separator = "; its connections: ";
	const json_t *count;
	size_t used = (size_t)snprintf(why, REASON_BYTES * 2, "nothing was redirected in an accelerated run: ");

	if (!proof->sessions)
		snprintf(why + used, REASON_BYTES * 2 - used,
			 "no process of it spoke to the helper (the shim was not loaded, or is off)");
	else if (!proof->connections)
		snprintf(why + used, REASON_BYTES * 2 - used, "it made no TCP connection that the shim saw");
	else if (proof->passed_msgs)
		snprintf(why + used, REASON_BYTES * 2 - used,
			 "%" PRIu64 " messages of joined connections went through TCP", proof->passed_msgs);
	else
		snprintf(why + used, REASON_BYTES * 2 - used, "no connection was armed");
	json_object_foreach (proof->reasons, reason, count) {
		used = strlen(why);
		snprintf(why + used, REASON_BYTES * 2 - used, "%s%" PRId64 " %s", separator,
			 (int64_t)json_integer_value(count), reason);
		separator = ", ";
	}
}

bool ab_proof_holds(const struct ab_options *options, const struct ab_run *run, char why[REASON_BYTES * 2])
{
	const struct ab_proof *proof = &run->proof;

	if (options->kind == AB_SETTINGS || !proof->known)
		return true;
	if ((run->arm == ARM_A || options->kind == AB_SAME) && proof->redirected_bytes) {
		snprintf(why, REASON_BYTES * 2, "%" PRIu64 " bytes were redirected in a plain run",
			 proof->redirected_bytes);
		return false;
	}
	if (run->arm == ARM_B && options->kind == AB_TREATMENT && !proof->redirected_bytes) {
		explain(proof, why);
		return false;
	}
	return true;
}
