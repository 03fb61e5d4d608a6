import { Controller } from '@nestjs/common';
import { Problem } from '@alcove/contracts';
import { Route } from '../door/route';

const why = {
  builds: 'Templates are built by the operator, with `alcove template build`, not through this API.',
  volumes: 'Volumes are not served here: what a sandbox is to keep, keep on its disk, and pause it.',
  secrets: 'Secrets are not served here.',
  figures: "A team's figures are not served here.",
} as const;

/** What E2B's API has and this one has not: said plainly, to whoever has a key. */
@Controller()
export class E2bNotServedController {
  @Route('e2bNoTemplate')
  template(): never {
    return refuse('builds');
  }

  @Route('e2bNoUpload')
  upload(): never {
    return refuse('builds');
  }

  @Route('e2bNoBuildStatus')
  status(): never {
    return refuse('builds');
  }

  @Route('e2bNoBuildLogs')
  logs(): never {
    return refuse('builds');
  }

  @Route('e2bNoTemplates')
  allTemplates(): never {
    return refuse('builds');
  }

  @Route('e2bNoTemplateParts')
  templateParts(): never {
    return refuse('builds');
  }

  @Route('e2bNoBuild')
  build(): never {
    return refuse('builds');
  }

  @Route('e2bNoBuildParts')
  buildParts(): never {
    return refuse('builds');
  }

  @Route('e2bNoVolumes')
  volumes(): never {
    return refuse('volumes');
  }

  @Route('e2bNoVolume')
  volume(): never {
    return refuse('volumes');
  }

  @Route('e2bNoVolumeContent')
  volumeContent(): never {
    return refuse('volumes');
  }

  @Route('e2bNoSecrets')
  secrets(): never {
    return refuse('secrets');
  }

  @Route('e2bNoSecret')
  secret(): never {
    return refuse('secrets');
  }

  @Route('e2bNoTeamMetrics')
  teamMetrics(): never {
    return refuse('figures');
  }
}

function refuse(what: keyof typeof why): never {
  throw new Problem('unsupported', { detail: why[what] });
}
