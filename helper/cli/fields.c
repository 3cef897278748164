/* SPDX-License-Identifier: BSD-2-Clause */
/* Members of the helper's JSON answers, as the tables show them. */
#include "fields.h"

uint64_t fields_number(const json_t *object, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(object, key));

	return value > 0 ? (uint64_t)value : 0;
}

const char *fields_text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value && *value ? value : "-";
}
