/*-------------------------------------------------------------------------
 *
 * vhnsw_element_hash.h
 *	  A hash table by element, made with simplehash.
 *
 * Before each inclusion SH_PREFIX and SH_ELEMENT_TYPE are defined, as for
 * lib/simplehash.h.  The type has two members for the table: 'element', which
 * is the key, and 'status', a char.
 *
 *-------------------------------------------------------------------------
 */
#include "common/hashfn.h"

#include "vhnsw/vhnsw_page.h"

#define SH_KEY_TYPE VhnswElement
#define SH_KEY element
#define SH_HASH_KEY(tb, key) murmurhash32(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
/* Core's header has a harmless shadowing. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow=compatible-local"
#include "lib/simplehash.h"
#pragma GCC diagnostic pop
