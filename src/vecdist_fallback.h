/*-------------------------------------------------------------------------
 *
 * vecdist_fallback.h
 *	  pgvector's settings hnsw.*, where ours of the same name are not set.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDIST_FALLBACK_H
#define VECDIST_FALLBACK_H

extern const char *VecdistFallbackValue(const char *name);

#endif							/* VECDIST_FALLBACK_H */
