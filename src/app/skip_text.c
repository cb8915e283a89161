#include "app/skip_text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "format/synth.h"

enum { TEXT_MAX = 64 << 10 }; /* 512 tokens are looked at */

/* Prose, talk, a list, numbers and code: some of all that a model is asked for. */
static const char own[] =
    "The harbour lay quiet in the early light. Two boats had come in during the night, and their crews were still asleep below deck while the gulls "
    "walked along the railings and looked for what the nets had left. A woman with a basket crossed the square, stopped at the baker's door and "
    "read the note that hung there: closed until Thursday. She laughed, because today was Thursday, and knocked.\n\n"
    "\"Who is it?\" asked a voice.\n\"A hungry customer,\" she said. \"Your note is a day too long.\"\n\n"
    "Water boils at 100 degrees at sea level, but at lower temperatures on a mountain, since the pressure of the air is lower there. This is why "
    "potatoes take longer to cook in a hut at 3000 metres than in a kitchen by the sea. In 1802 Alexander von Humboldt measured the boiling point of water "
    "on Chimborazo in order to tell how high he had climbed.\n\n"
    "Steps:\n1. Wash the rice until the water stays clear.\n2. Add one and a half cups of water for each cup of rice.\n3. Bring it to the boil, then let it "
    "simmer for twelve minutes.\n4. Leave it covered for another ten.\n\n"
    "def mean(values):\n    total = 0\n    for v in values:\n        total += v\n    return total / len(values) if values else 0.0\n\n"
    "Dear Mr Lindqvist, thank you for your letter of 14 March. We have looked at the three offers and would like to take the second one, provided "
    "that delivery is possible before the end of May. Please let us know whether the price of 2,450 includes transport. With kind regards, A. Moreau\n\n"
    "Question: Which planet has the most moons?\nAnswer: Saturn, with more than one hundred that are known; Jupiter follows.\n\n"
    "It is often said that a good map leaves out more than it shows. The one in the station showed every street and every tram line, every chapel and "
    "every well, and nobody who stood before it could find the way to the market. Somebody had drawn a red line by hand, from the door to the fountain and on to the "
    "stalls, and that line was all that anyone used.\n";

static sr_status read_text(const char *path, sr_buf *out, sr_err *err)
{
    char   block[4096];
    size_t n;
    FILE  *f = fopen(path, "re");
    if (!f)
        return sr_raise(err, SR_IO, "%s: %s", path, strerror(errno));
    while (out->n < TEXT_MAX && (n = fread(block, 1, sizeof block, f)) > 0 && sr_buf_add(out, block, n))
        ;
    if (ferror(f) || out->failed)
        sr_raise(err, SR_IO, "%s: %s", path, out->failed ? "out of memory" : strerror(errno));
    fclose(f);
    while (out->n && ((unsigned char)out->p[out->n - 1] & 0xc0) == 0x80) /* a cut may have met a character */
        out->n--;
    return err->status;
}

sr_status sr_skip_text(const sr_sessioncfg *cfg, const char *path, sr_ids *ids, sr_loadcfg *load, sr_err *err)
{
    sr_gguf      *g    = NULL;
    sr_tokenizer *tok  = NULL;
    sr_buf        text = {0};
    load->early_exit   = cfg->early_exit;
    load->exit_layer   = cfg->exit_layer;
    if (cfg->skip_text && cfg->skip_threshold <= 0)
        return sr_raise(err, SR_INVALID, "--skip-text was given, but no --skip-threshold");
    if (cfg->exit_layer && cfg->early_exit <= 0)
        return sr_raise(err, SR_INVALID, "--exit-layer was given, but no --early-exit");
    if (cfg->skip_threshold <= 0)
        return SR_OK;
    load->skip_threshold = cfg->skip_threshold;
    bool ok = (!cfg->skip_text || read_text(cfg->skip_text, &text, err) == SR_OK) && sr_synth_open(path, false, &g, err) == SR_OK &&
              sr_tokenizer_open(g, &tok, err) == SR_OK &&
              sr_tokenizer_encode(tok, text.p ? text.p : own, text.p ? text.n : sizeof own - 1, SR_TOK_ADD_SPECIAL, ids, err) == SR_OK;
    load->skip_text   = ids->p;
    load->n_skip_text = (uint32_t)ids->n;
    sr_buf_end(&text);
    sr_tokenizer_close(tok);
    sr_gguf_close(g);
    return ok ? SR_OK : sr_while(err, "preparing the text to measure blocks with");
}
