/* PCRE2 for bytes: the code unit width must be set before its header is read. */
#ifndef LB_PCRE_H
#define LB_PCRE_H
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#endif
