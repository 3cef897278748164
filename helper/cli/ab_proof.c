/* SPDX-License-Identifier: BSD-2-Clause */
/* Proof of treatment: what the helper counted for the connections of one run.
 *
 * As long as the helper knows no groups, the proof is the growth of its totals: then nothing else may be accelerated meanwhile.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ab.h"
#include "client.h"
#include "fields.h"

static json_t *before; /* the helper's status when the run began */

static json_t *ask_status(const struct ab_options *options, int *err)
{
	char *text = NULL;
	json_t *status = NULL;

	*err = client_request(options->socket_path, WIRE_STATUS, &text);
	if (!*err) {
		status = text ? json_loads(text, 0, NULL) : NULL;
		*err = status ? 0 : -EPROTO;
	}
	free(text);
	return status;
}

int ab_proof_begin(const struct ab_options *options, uint64_t group)
{
	int err;

	(void)group;
	json_decref(before);
	before = ask_status(options, &err);
	return err;
}

static uint64_t growth(const json_t *after, const char *key)
{
	uint64_t first = fields_number(json_object_get(before, "totals"), key);
	uint64_t last = fields_number(json_object_get(after, "totals"), key);

	return last > first ? last - first : 0;
}

static json_t *refusals_growth(const json_t *after)
{
	const json_t *old = json_object_get(before, "refusals"), *value;
	json_t *grown = json_object();
	const char *reason;

	json_object_foreach (json_object_get(after, "refusals"), reason, value) {
		uint64_t count = (uint64_t)json_integer_value(value) - fields_number(old, reason);

		if (count)
			json_object_set_new(grown, reason, json_integer((json_int_t)count));
	}
	return grown;
}

int ab_proof_end(const struct ab_options *options, uint64_t group, struct ab_proof *proof)
{
	int err;
	json_t *after = ask_status(options, &err);

	(void)group;
	if (err)
		return err;
	proof->known = true;
	proof->redirected_bytes = growth(after, "redirected_bytes");
	proof->redirected_msgs = growth(after, "redirected_msgs");
	proof->passed_bytes = growth(after, "passed_bytes");
	proof->passed_msgs = growth(after, "passed_msgs");
	proof->connections = growth(after, "sockets_joined");
	proof->reasons = refusals_growth(after);
	json_decref(after);
	return 0;
}

static void add_reasons(const struct ab_proof *proof, char *why, size_t bytes)
{
	const char *reason, *separator = ": ";
	const json_t *count;

	json_object_foreach (proof->reasons, reason, count) {
		size_t used = strlen(why);

		snprintf(why + used, bytes - used, "%s%s (%" PRId64 ")", separator, reason,
			 (int64_t)json_integer_value(count));
		separator = ", ";
	}
}

bool ab_proof_holds(const struct ab_options *options, const struct ab_run *run, char why[REASON_BYTES * 2])
{
	const struct ab_proof *proof = &run->proof;

	if (options->kind == AB_SETTINGS || !proof->known)
		return true;
	if ((run->arm == ARM_A || options->kind == AB_SAME) && proof->redirected_bytes) {
		snprintf(why, REASON_BYTES * 2,
			 "%" PRIu64 " bytes were redirected in a plain run (does something else use this helper?)",
			 proof->redirected_bytes);
		return false;
	}
	if (run->arm == ARM_B && options->kind == AB_TREATMENT && !proof->redirected_bytes) {
		snprintf(why, REASON_BYTES * 2, "nothing was redirected in an accelerated run");
		add_reasons(proof, why, REASON_BYTES * 2);
		if (!json_object_size(proof->reasons)) {
			size_t used = strlen(why);

			snprintf(why + used, REASON_BYTES * 2 - used,
				 proof->passed_msgs
					 ? ": %" PRIu64 " messages of joined connections passed"
					 : ": no connection joined (too short, or one end not under the shim)",
				 proof->passed_msgs);
		}
		return false;
	}
	return true;
}
