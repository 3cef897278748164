/* SPDX-License-Identifier: BSD-2-Clause */
/* Members of the helper's JSON answers, as the tables show them. A missing one is no error: versions differ. */
#ifndef SMACCEL_CLI_FIELDS_H
#define SMACCEL_CLI_FIELDS_H

#include <jansson.h>
#include <stdint.h>

/* 0 for what is missing or negative. */
uint64_t fields_number(const json_t *object, const char *key);
/* "-" for what is missing or empty. */
const char *fields_text(const json_t *object, const char *key);

#endif
